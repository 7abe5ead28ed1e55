//! What the adapters' tests know of the servers of `infra/native/services` that ask for TLS and a login.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// That of their user.
pub(crate) const PASSWORD: &str = "s3cret";
/// That of nobody.
pub(crate) const WRONG_PASSWORD: &str = "wr0ng";

/// The certificate of an authority: `ca` signed those of all servers, `stranger` none.
pub(crate) fn certificate(authority: &str) -> PathBuf {
    let made_by_services = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/services/tls");
    let folder = std::env::var_os("SLUICE_TEST_TLS").map_or_else(made_by_services, PathBuf::from);
    let path = folder.join(format!("{authority}.pem"));
    assert!(path.exists(), "there is no {}: `infra/native/services up` makes it", path.display());
    path
}

/// A file for an option to name.
pub(crate) fn file_with(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("writes");
    file
}

/// Fails if an error shows a password to an operator or to a log.
pub(crate) fn assert_shows_no_password<E: std::error::Error>(error: &E) {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(WRONG_PASSWORD), "{shown}");
}
