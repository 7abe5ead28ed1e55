//! The examples run and print what their descriptions promise.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Exit, Home, Launch, Process, authority, free_address, machine};

/// The first build of a policy elsewhere compiles its dependencies, which takes minutes on a slow machine.
const TIMEOUT: Duration = Duration::from_mins(10);

async fn run(example: &str) -> Exit {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut command = Command::new(examples.join(example).join("run"));
    command.env("SLUICE", env!("CARGO_BIN_EXE_sluice"));
    let ended = Process::run(command, TIMEOUT).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    ended
}

fn assert_prints_in_order(ended: &Exit, lines: &[&str]) {
    let mut printed = ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    for line in lines {
        assert!(printed.any(|printed| printed.contains(line)), "`{line}` is missing or out of order: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_midnight_drop_example_grants_1000_coupons() {
    machine::exclusive();
    let ended = run("midnight-drop").await;
    assert_prints_in_order(
        &ended,
        &["\"reason\":\"NOT_OPEN\"", "900 people", "900 202", "again", "100 429", "600 more", "granted 1000"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_policy_example_activates_and_rolls_back_a_policy() {
    machine::exclusive();
    let ended = run("own-policy").await;
    let expected = [
        "user 666: 202",
        "world user-limit",
        "\"reason\":\"POLICY_REFUSED\"",
        "\"generation\":2",
        "user 667: 429",
        "user 668: 202",
        "user 668: 429",
        "\"generation\":3",
        "user 667: 202",
    ];
    assert_prints_in_order(&ended, &expected);
}

/// Extracts the configuration from the manifest and points it to local secrets.
fn configuration_on_kubernetes(secrets: &Path) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let manifest = std::fs::read_to_string(examples.join("kubernetes/config.yaml")).expect("the manifest");
    let (_, block) = manifest.split_once("  sluice.toml: |\n").expect("the configuration is its last value");
    let lines = block.lines().map(|line| line.strip_prefix("    ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").replace("/etc/sluice/secret", &secrets.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_example_configuration_passes_config_check() {
    let home = Home::new(free_address(), free_address());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificate = std::fs::read_to_string(authority()).expect("a certificate");
    for (name, text) in [
        ("admin-token", "a token that is hard to guess"),
        ("kafka-password", "one"),
        ("kafka-ca.pem", &certificate),
        ("mysql-password", "another"),
        ("mysql-ca.pem", &certificate),
        ("redis-password", "a third"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a secret can be written");
    }
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, configuration_on_kubernetes(folder.path())).expect("a configuration can be written");
    let arguments = ["config", "check", "--config", path.to_str().expect("a path in UTF-8")];
    let ended = Process::run(Launch::default().command(home.path(), &arguments), TIMEOUT).await;
    assert_eq!(ended.code, Some(0), "{ended}");
}
