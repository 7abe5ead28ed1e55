//! The servers of `infra/native/services`, which run before the tests do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Process;

/// The script installs nothing here: it only says what is wrong, ends a server or starts it again.
const WITHIN: Duration = Duration::from_secs(150);

/// `kill`, `start`, `pause` or `resume` one of them, by name.
pub(crate) async fn service(action: &str, name: &str) {
    services(action, &[name]).await;
}

/// The same to several at once.
pub(crate) async fn services(action: &str, names: &[&str]) {
    let mut command = Command::new(root().join("infra/native/services"));
    command.arg(action).args(names);
    let ended = Process::run(command, WITHIN).await;
    assert_eq!(ended.code, Some(0), "infra/native/services {action} {names:?}: {ended}");
}

/// The certificate of the authority that signed theirs.
pub(crate) fn authority() -> PathBuf {
    let made_by_services = || root().join("target/services/tls");
    std::env::var_os("SLUICE_TEST_TLS").map_or_else(made_by_services, PathBuf::from).join("ca.pem")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}
