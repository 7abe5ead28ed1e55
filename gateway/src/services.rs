//! What adapter tests share about the servers of `infra/native/services` that require TLS and authentication.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// The password of the servers' user.
pub(crate) const PASSWORD: &str = "s3cret";
/// A password that no server accepts.
pub(crate) const WRONG_PASSWORD: &str = "wr0ng";

/// The certificate of a CA: `ca` signed the certificates of all servers, `stranger` signed none.
pub(crate) fn certificate(authority: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/services/tls");
    let folder = std::env::var_os("SLUICE_TEST_TLS").map_or_else(default, PathBuf::from);
    let path = folder.join(format!("{authority}.pem"));
    assert!(path.exists(), "{} does not exist: create it with `infra/native/services up`", path.display());
    path
}

/// A temporary file, such as one for a password.
pub(crate) fn file_with(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("writes");
    file
}

/// Panics if an error contains a password, whether it is displayed or logged with `Debug`.
pub(crate) fn assert_shows_no_password<E: std::error::Error>(error: &E) {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(WRONG_PASSWORD), "{shown}");
}
