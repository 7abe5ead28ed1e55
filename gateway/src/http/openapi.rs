//! The description of both listeners in OpenAPI 3.1, put together from the annotations of their handlers.

pub(super) mod problems;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemDetails;
use problems::problems;

const TOKEN: &str = "token";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Sluice", description = "Issues coupons first come, first served."),
    components(schemas(ProblemDetails<'static>)),
    tags(
        (name = "coupons", description = "Ask for a coupon, then for the outcome."),
        (name = "health", description = "Probes, as Kubernetes sends them."),
        (name = "problems", description = "What the reasons of error answers mean."),
        (name = "description", description = "This document."),
    )
)]
struct Public;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Sluice admin",
        description = "Operates a gateway. Calls from this machine need no token, if they are addressed to `localhost` \
            or a loopback address. All others need a token of `admin.token_file` or \
            `admin.tokens`. One of the role `read` is refused with 403 by calls that change something."
    ),
    components(schemas(ProblemDetails<'static>)),
    tags(
        (name = "campaigns", description = "A campaign is a coupon on offer: stock, limit per user, opening times."),
        (name = "policies", description = "The policies that decide, and the pipeline that they form."),
        (name = "rollouts", description = "Changes of the pipeline that serve some users before they serve all."),
        (name = "log", description = "How far the log is settled, and its gaps."),
        (name = "metrics", description = "For Prometheus."),
        (name = "health", description = "Probes, as Kubernetes sends them."),
        (name = "problems", description = "What the reasons of error answers mean."),
        (name = "description", description = "This document."),
    )
)]
struct Admin;

/// The public listener, with these calls.
pub(super) fn public(calls: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    merged(<Public as utoipa::OpenApi>::openapi(), calls)
}

/// The admin listener, with these calls.
pub(super) fn admin(calls: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let mut document = merged(<Admin as utoipa::OpenApi>::openapi(), calls);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    let without = SecurityRequirement::default();
    document.security = Some(vec![without, SecurityRequirement::new(TOKEN, [] as [&str; 0])]);
    document
}

fn merged(mut document: OpenApi, calls: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    calls.into_iter().for_each(|calls| document.merge(calls));
    document
}

/// `GET /openapi.json`, before it knows what it answers.
pub(super) fn calls() -> OpenApiRouter<Bytes> {
    OpenApiRouter::new().routes(routes!(document))
}

/// `GET /openapi.json`.
pub(super) fn route(document: &OpenApi) -> Router {
    let text = document.to_json().expect("a document is JSON");
    Router::from(calls().with_state(Bytes::from(text)))
}

problems!(DocumentProblems: problems::EVERY_CALL);

/// Describe the calls
///
/// The calls of this listener, in OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "describeCalls", tag = "description", security(()),
    responses((status = 200, description = "This document.", body = Object), DocumentProblems)
)]
async fn document(State(document): State<Bytes>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}
