//! The servers of `infra/native/services`, which must run before the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Process;

/// Starting a server takes longest.
const TIMEOUT: Duration = Duration::from_secs(150);

/// `action` is `kill`, `start`, `pause` or `resume`.
pub(crate) async fn service(action: &str, name: &str) {
    services(action, &[name]).await;
}

pub(crate) async fn services(action: &str, names: &[&str]) {
    let mut command = Command::new(root().join("infra/native/services"));
    command.arg(action).args(names);
    let ended = Process::run(command, TIMEOUT).await;
    assert_eq!(ended.code, Some(0), "infra/native/services {action} {names:?}: {ended}");
}

/// The CA certificate of the servers.
pub(crate) fn authority() -> PathBuf {
    let made_by_services = || root().join("target/services/tls");
    std::env::var_os("SLUICE_TEST_TLS").map_or_else(made_by_services, PathBuf::from).join("ca.pem")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}
