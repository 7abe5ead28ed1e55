//! Which handler answers which call. The routes and the documents are made from the same lists.

use std::sync::Arc;

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admin::{self, AdminAccess, coupon_pipelines, coupons, decisions, log, outcomes, policies, rollouts};
use super::health::{self, Audience, Health};
use super::state::{ApiState, ConsumerState};
use super::{api_page, error, issue, openapi, reasons, status};
use crate::telemetry::Telemetry;

/// The public calls of a gateway.
pub fn public(state: Arc<ApiState>) -> Router {
    let health = Arc::clone(&state.health);
    Router::from(public_calls().with_state(state))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .merge(open_calls(health, Audience::Public, &public_document()))
}

/// The admin calls of a gateway.
pub fn admin(state: Arc<ApiState>) -> Router {
    let (access, telemetry, health) = (state.access.clone(), state.telemetry.clone(), Arc::clone(&state.health));
    guarded(Router::from(admin_calls().with_state(state)), access, telemetry, health, &admin_document())
}

/// The admin calls of a consumer: metrics and probes. Campaigns and policies are changed through a gateway.
pub fn consumer(state: &ConsumerState) -> Router {
    let (access, telemetry, health) = (state.access.clone(), state.telemetry.clone(), Arc::clone(&state.health));
    let document = openapi::admin([metrics_calls().into_openapi()].into_iter().chain(open_documents()));
    guarded(Router::new(), access, telemetry, health, &document)
}

/// The description of the public listener.
#[must_use]
pub fn public_document() -> OpenApi {
    openapi::public([public_calls().into_openapi()].into_iter().chain(open_documents()))
}

/// The description of the admin listener of a gateway.
#[must_use]
pub fn admin_document() -> OpenApi {
    let guarded = [admin_calls().into_openapi(), metrics_calls().into_openapi()];
    openapi::admin(guarded.into_iter().chain(open_documents()))
}

fn public_calls() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(issue::issue)).routes(routes!(status::status))
}

fn admin_calls() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(coupons::list, coupons::create))
        .routes(routes!(coupons::show))
        .routes(routes!(coupons::audit))
        .routes(routes!(outcomes::export))
        .routes(routes!(coupons::pause))
        .routes(routes!(coupons::resume))
        .routes(routes!(coupons::close))
        .routes(routes!(coupons::top_up))
        .routes(routes!(coupons::reshard))
        .routes(routes!(log::show))
        .routes(routes!(log::skip))
        .routes(routes!(policies::list, policies::upload))
        .routes(routes!(policies::show, policies::change))
        .routes(routes!(policies::rollback))
        .routes(routes!(coupon_pipelines::show, coupon_pipelines::change, coupon_pipelines::clear))
        .routes(routes!(coupon_pipelines::rollback))
        .routes(routes!(rollouts::list, rollouts::start))
        .routes(routes!(rollouts::show, rollouts::change))
        .routes(routes!(rollouts::promote))
        .routes(routes!(rollouts::abort))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::show))
}

fn metrics_calls() -> OpenApiRouter<Telemetry> {
    OpenApiRouter::new().routes(routes!(admin::metrics))
}

/// The descriptions of [`open_calls`].
fn open_documents() -> [OpenApi; 3] {
    [health::calls().into_openapi(), reasons::calls().into_openapi(), openapi::calls().into_openapi()]
}

/// The calls that both listeners answer without a token.
fn open_calls(health: Arc<Health>, audience: Audience, document: &OpenApi) -> Router {
    Router::from(health::calls().with_state((health, audience)))
        .merge(Router::from(reasons::calls()))
        .merge(openapi::route(document))
        .method_not_allowed_fallback(error::method_not_allowed)
}

fn guarded(
    calls: Router,
    access: AdminAccess,
    telemetry: Telemetry,
    health: Arc<Health>,
    document: &OpenApi,
) -> Router {
    calls
        .merge(Router::from(metrics_calls().with_state(telemetry)))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(access, admin::guard))
        // An orchestrator's probes carry no token, nor does a browser that follows a link or opens the page.
        .merge(open_calls(health, Audience::Operator, document))
        .merge(api_page::routes())
}
