//! The two listeners. The only place that knows axum, and the only one that chooses a status.
//!
//! The public listener takes requests and tells how they ended; the admin listener changes campaigns
//! and policies and shows the metrics. Neither serves the other's calls.

mod admin;
mod error;
mod health;
mod issue;
mod json;
mod server;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};

use crate::admission::Admission;
use crate::bounded::bounded;
use crate::settlement::Progress;

pub use server::{Bound, bind};

/// `[http]` of the configuration: the public listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether this process takes requests.
    pub enabled: bool,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Requests for coupons that may be on their way at once. One more is answered 503.
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_000_000>")]
    pub in_flight_max: usize,
    /// Connections that may be open at once. One more waits until another ends.
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_000_000>")]
    pub connections_max: usize,
    /// How long requests under way are waited for at shutdown, in seconds.
    #[serde(deserialize_with = "bounded::<_, _, 0, 3600>")]
    pub drain_seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            in_flight_max: 8192,
            connections_max: 16_384,
            drain_seconds: 10,
        }
    }
}

/// `[admin]` of the configuration: the admin listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file whose first line is the bearer token that every call needs which is not from this
    /// machine. Without it such calls are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), token_file: None }
    }
}

/// A longer body is no request for a coupon.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A policy component; guests that carry a language runtime take 12 to 18 MB.
const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A client that takes longer to send its headers or its body is cut.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handlers work with.
pub struct Gateway {
    /// Decides about requests.
    pub admission: Admission,
    /// How far settlement is.
    pub progress: Arc<Progress>,
    /// The hash of the admin token.
    pub token: Option<AdminToken>,
    /// Set when shutdown begins: readiness fails, so that no new traffic comes.
    pub draining: AtomicBool,
}

pub use admin::AdminToken;

type Shared = axum::extract::State<Arc<Gateway>>;

/// The public calls.
pub fn public(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/coupon/issue", post(issue::issue))
        .route("/coupon/issue/{request_id}", get(status::status))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(gateway)
}

/// The admin calls.
pub fn private(gateway: Arc<Gateway>) -> Router {
    use admin::{coupons, policies};

    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/admin/coupons", get(coupons::list).post(coupons::create))
        .route("/admin/coupons/{coupon}", get(coupons::show))
        .route("/admin/coupons/{coupon}/audit", get(coupons::audit))
        .route("/admin/coupons/{coupon}/pause", post(coupons::pause))
        .route("/admin/coupons/{coupon}/resume", post(coupons::resume))
        .route("/admin/coupons/{coupon}/close", post(coupons::close))
        .route("/admin/coupons/{coupon}/top-up", post(coupons::top_up))
        .route("/admin/coupons/{coupon}/reshard", post(coupons::reshard))
        .route("/admin/policies", get(policies::list).post(policies::upload))
        .route("/admin/pipeline", put(policies::change).get(policies::show))
        .route("/admin/pipeline/rollback", post(policies::rollback))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&gateway), admin::guard))
        .with_state(gateway)
}
