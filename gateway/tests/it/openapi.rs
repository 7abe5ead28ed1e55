//! Schemathesis calls every operation of both listeners, with valid and with invalid data, and compares each answer with
//! the listener's description.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::soak::short_or_long;
use crate::harness::{Gateway, Process};

/// It repeats its last phases until this time is over.
const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(15 * 60);
/// For its start, its first phases on a busy machine, and the calls in progress at the end.
const PATIENCE: Duration = Duration::from_mins(10);

async fn assert_keeps_its_description(listener: SocketAddr, gateway: &Gateway) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    let schemathesis = root.join("target/schemathesis/bin/schemathesis");
    assert!(schemathesis.exists(), "Schemathesis is not installed: run `infra/bootstrap test` first");
    let lasts = short_or_long(SHORT, LONG);
    let mut command = Command::new(schemathesis);
    command
        .current_dir(gateway.home.path())
        .env("SCHEMATHESIS_HOOKS", root.join("infra/schemathesis/hooks.py"))
        .arg("--config-file")
        .arg(root.join("infra/schemathesis/schemathesis.toml"))
        .args(["run", &format!("http://{listener}/openapi.json"), "--max-time", &lasts.as_secs().to_string()]);
    let ended = Process::run(command, lasts + PATIENCE).await;
    println!("{}", ended.stdout);
    assert_eq!(ended.code, Some(0), "{ended}");
    let ready = gateway.operator.get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_keeps_its_description() {
    let gateway = Gateway::start().await;
    assert_keeps_its_description(gateway.http, &gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_keeps_its_description() {
    let gateway = Gateway::start().await;
    assert_keeps_its_description(gateway.admin, &gateway).await;
}
