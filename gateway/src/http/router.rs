//! Which handler answers which call.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};

use super::admin::{self, AdminAccess, coupons, log, outcomes, policies};
use super::health::{self, Audience, Health};
use super::state::{ApiState, ConsumerState};
use super::{error, issue, status};
use crate::telemetry::Telemetry;

/// The public calls of a gateway.
pub fn public(state: Arc<ApiState>) -> Router {
    let health = Arc::clone(&state.health);
    Router::new()
        .route("/coupon/issue", post(issue::issue))
        .route("/coupon/issue/{request_id}", get(status::status))
        .with_state(state)
        .merge(health::routes(health, Audience::Public))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
}

/// The admin calls of a gateway.
pub fn admin(state: Arc<ApiState>) -> Router {
    let (access, telemetry, health) = (state.access, state.telemetry.clone(), Arc::clone(&state.health));
    let calls = Router::new()
        .route("/admin/coupons", get(coupons::list).post(coupons::create))
        .route("/admin/coupons/{coupon}", get(coupons::show))
        .route("/admin/coupons/{coupon}/audit", get(coupons::audit))
        .route("/admin/coupons/{coupon}/outcomes", get(outcomes::export))
        .route("/admin/coupons/{coupon}/pause", post(coupons::pause))
        .route("/admin/coupons/{coupon}/resume", post(coupons::resume))
        .route("/admin/coupons/{coupon}/close", post(coupons::close))
        .route("/admin/coupons/{coupon}/top-up", post(coupons::top_up))
        .route("/admin/coupons/{coupon}/reshard", post(coupons::reshard))
        .route("/admin/log", get(log::show))
        .route("/admin/log/skip", post(log::skip))
        .route("/admin/policies", get(policies::list).post(policies::upload))
        .route("/admin/pipeline", put(policies::change).get(policies::show))
        .route("/admin/pipeline/rollback", post(policies::rollback))
        .with_state(state);
    guarded(calls, access, telemetry, health)
}

/// The admin calls of a consumer: metrics and probes. Campaigns and policies are changed through a gateway.
pub fn consumer(state: &ConsumerState) -> Router {
    guarded(Router::new(), state.access, state.telemetry.clone(), Arc::clone(&state.health))
}

fn guarded(calls: Router, access: AdminAccess, telemetry: Telemetry, health: Arc<Health>) -> Router {
    calls
        .route("/metrics", get(admin::metrics).with_state(telemetry))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(access, admin::guard))
        // An orchestrator's probes carry no token.
        .merge(health::routes(health, Audience::Operator))
}
