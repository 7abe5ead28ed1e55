//! The public and the admin listener. The only module that knows axum, and the only one that chooses a status.
//!
//! The public listener accepts requests for coupons and answers status calls. The admin listener changes campaigns
//! and policies and serves the metrics. Neither serves the calls of the other.

mod address;
mod admin;
mod api_page;
mod connection;
mod error;
mod health;
mod idempotency;
mod issue;
mod json;
mod limits;
mod openapi;
mod problem_type;
mod reasons;
mod router;
mod server;
mod state;
mod status;
mod stream;
mod tls;
mod whole;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bounded::bounded;

pub use admin::{AdminAccess, AdminTokens};
pub use connection::ConnectionLimits;
pub use health::Health;
pub use reasons::reasons_page;
pub use router::{admin, admin_document, consumer, public, public_document};
pub use server::{Bound, Reserved, reserve};
pub use state::{ApiState, ConsumerState};
pub use tls::{Tls, TlsError};

/// `[http]` of the configuration: the public listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// The address and port of the public listener. Port 0 takes a free port. `0.0.0.0` serves other machines.
    #[serde(deserialize_with = "address::deserialize")]
    pub listen: SocketAddr,
    /// The most issue requests that one process decides at the same time, 1 to 1,000,000. One more is answered 503
    /// OVERLOADED.
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_000_000>")]
    pub in_flight_max: usize,
    /// The most open connections to the public listener, 1 to 1,000,000. One more is accepted when another closes. Each
    /// takes a file descriptor: if the limit of open files leaves room for fewer, a start warns and accepts those.
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_000_000>")]
    pub connections_max: usize,
    /// How long a connection may be idle between two requests, in seconds, 1 to 3600, on both listeners. Set it above
    /// the idle timeout of the load balancer in front, usually 60 s: otherwise the balancer may send a request on a
    /// connection that is just being closed.
    #[serde(deserialize_with = "bounded::<_, _, 1, 3600>")]
    pub keep_alive_seconds: u64,
    /// How long shutdown waits for requests in progress, in seconds, 0 to 3600. Their connections are then closed.
    #[serde(deserialize_with = "bounded::<_, _, 0, 3600>")]
    pub drain_seconds: u64,
    /// PEM file with the certificate that clients of the public listener see, then its intermediate certificates. With
    /// `tls_key_file`, the listener requires TLS 1.2 or 1.3. Both files are loaded again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate_file: Option<PathBuf>,
    /// PEM file with the private key of `tls_certificate_file`, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
    /// Deprecated: `false` is `--role consumer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            in_flight_max: 8192,
            connections_max: 16_384,
            keep_alive_seconds: 75,
            drain_seconds: 10,
            tls_certificate_file: None,
            tls_key_file: None,
            enabled: None,
        }
    }
}

/// `[admin]` of the configuration: the admin listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct AdminOptions {
    /// The address and port of the admin listener. Port 0 takes a free port. Do not expose it to the internet.
    #[serde(deserialize_with = "address::deserialize")]
    pub listen: SocketAddr,
    /// The file whose first line is the bearer token, of at least 16 characters. Every call from another machine
    /// needs a token. Without this option and `tokens`, such calls are refused. This token has the name `admin` and the
    /// role `operate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// More tokens, one for each person or program. Each has a `name`, a `role` and a `token_file` like the one above.
    /// A token of the role `read` may only read; one of the role `operate` may also change. Changes are logged with the
    /// name.
    pub tokens: Vec<TokenOptions>,
    /// PEM file with the certificate that clients of the admin listener see, then its intermediate certificates. With
    /// `tls_key_file`, the listener requires TLS 1.2 or 1.3. Both files are loaded again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate_file: Option<PathBuf>,
    /// PEM file with the private key of `tls_certificate_file`, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
}

impl Default for AdminOptions {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8081));
        Self { listen, token_file: None, tokens: Vec::new(), tls_certificate_file: None, tls_key_file: None }
    }
}

/// A token of `admin.tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with name, role and token_file")]
pub struct TokenOptions {
    pub name: String,
    pub role: AdminRole,
    pub token_file: PathBuf,
}

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    Read,
    Operate,
}
