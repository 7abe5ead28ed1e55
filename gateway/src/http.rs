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
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};

use crate::admission::Admission;
use crate::bounded::bounded;
use crate::campaign_cache::CampaignCache;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::policy::Pipelines;
use crate::settlement::Progress;
use crate::telemetry::Telemetry;

pub use admin::AdminToken;
pub use health::Health;
pub use server::{Bound, bind};

/// `[http]` of the configuration: the public listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
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

/// What the handlers of a gateway share.
pub struct ApiState {
    /// Decides about requests.
    pub admission: Arc<Admission>,
    /// What operators change and list.
    pub campaigns: Arc<CampaignCache>,
    /// What decides, and the way to change it.
    pub pipelines: Arc<Pipelines>,
    /// Tells how far the queue before a request reaches.
    pub log: Arc<dyn Log>,
    /// Tells how a request ended.
    pub ledger: Arc<dyn Ledger>,
    /// Tells how far each partition is settled.
    pub progress: Arc<Progress>,
    /// Answers the probes.
    pub health: Arc<Health>,
    /// Required of every admin call from another machine.
    pub token: Option<AdminToken>,
    /// Counts the answers, and renders the metrics.
    pub telemetry: Telemetry,
}

/// What the handlers of a consumer share: it has no admission and no policies.
pub struct ConsumerState {
    /// Answers the probes.
    pub health: Arc<Health>,
    /// Required of every admin call from another machine.
    pub token: Option<AdminToken>,
    /// Renders the metrics.
    pub telemetry: Telemetry,
}

/// The public calls of a gateway.
pub fn public(state: Arc<ApiState>) -> Router {
    let health = Arc::clone(&state.health);
    Router::new()
        .route("/coupon/issue", post(issue::issue))
        .route("/coupon/issue/{request_id}", get(status::status))
        .with_state(state)
        .merge(health::routes(health))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
}

/// The admin calls of a gateway.
pub fn admin(state: Arc<ApiState>) -> Router {
    use admin::{coupons, policies};

    let (token, telemetry, health) = (state.token, state.telemetry.clone(), Arc::clone(&state.health));
    let calls = Router::new()
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
        .with_state(state);
    guarded(calls, token, telemetry, health)
}

/// The admin calls of a consumer: metrics and probes. Operators call a gateway.
pub fn consumer(state: Arc<ConsumerState>) -> Router {
    guarded(Router::new(), state.token, state.telemetry.clone(), Arc::clone(&state.health))
}

fn guarded(calls: Router, token: Option<AdminToken>, telemetry: Telemetry, health: Arc<Health>) -> Router {
    calls
        .route("/metrics", get(admin::metrics).with_state(telemetry))
        .merge(health::routes(health))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(token, admin::guard))
}
