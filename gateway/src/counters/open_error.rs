//! Why counters were not opened.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "counters.url: expected `local:`, `redis://[user@]host:port[/db]` or `redis+cluster://[user@]host:port,…` \
         (`rediss` with TLS), found `{0}`"
    )]
    UnknownUrl(String),
    #[error("counters.url: {0}")]
    Url(String),
    #[error("counters.key_prefix: expected 1 to 32 letters, digits, `-`, `_` or `.`, found `{0}`")]
    KeyPrefix(String),
    #[error("counters.url: {server} is not a node of a Redis Cluster: use `redis://` for a single Redis")]
    NoCluster { server: String },
    /// Logs and `sluice config` show URLs, so they must not hold secrets.
    #[error("counters.url: contains a password: move it to a file and name that file in counters.password_file")]
    PasswordInUrl,
    #[error(
        "counters.password_file: not set, but counters.url names a user: set it to a file with the user's password"
    )]
    NoPassword,
    #[error("counters.tls_ca_file: {0}")]
    Certificates(String),
    #[error("counters.password_file: {0}")]
    PasswordFile(String),
    #[error("{key}: {}: {message}", path.display())]
    File {
        /// The configuration key that names the file.
        key: &'static str,
        path: PathBuf,
        message: String,
    },
    #[error(
        "counters.url: authentication failed for user `{user}` at {server}: {reason}: check counters.url, \
         counters.password_file and the user's ACL"
    )]
    AuthenticationFailed { server: String, user: String, reason: String },
    #[error(
        "counters.tls_ca_file: certificate of {server} is not trusted: {reason}: name the CA that signed it in \
         counters.tls_ca_file, and its host name in counters.url"
    )]
    UntrustedCertificate { server: String, reason: String },
    #[error(
        "counters.url: {server} {}",
        if *requires_tls { "requires TLS: use `rediss://` or the plaintext port" }
        else { "does not support TLS: use `redis://` or the TLS port" }
    )]
    TlsMismatch {
        server: String,
        /// What the server answered to; the URL says the opposite.
        requires_tls: bool,
    },
    /// Only when `counters.on_unavailable` is `refuse`.
    #[error(
        "counters.url: {server} is unreachable: {reason}: start Redis, or set counters.on_unavailable = \"pass\" to \
         run without shared counters"
    )]
    Unreachable { server: String, reason: String },
}
