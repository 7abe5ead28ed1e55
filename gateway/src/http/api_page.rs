//! `/docs/` on the admin listener: a page to read and try the admin calls. Its files are part of the binary.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::{Config, serve};

use super::error::{self, Problem};

/// The page loads nothing from elsewhere and no other page shows it. It writes styles into its own elements, and its
/// icons are data.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

pub(super) fn routes() -> Router {
    // By default, the page sends the document's address to a validator on the internet.
    let config = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true);
    Router::new()
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(index))
        .route("/docs/{file}", get(file))
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(Arc::new(config))
}

async fn index(State(config): State<Arc<Config<'static>>>, uri: Uri) -> Result<Response, Problem> {
    answer("index.html", config, uri).await
}

async fn file(
    State(config): State<Arc<Config<'static>>>,
    Path(file): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    answer(&file, config, uri).await
}

async fn answer(file: &str, config: Arc<Config<'static>>, uri: Uri) -> Result<Response, Problem> {
    let Some(file) = serve(file, config).map_err(|_| Problem::internal())? else {
        return Err(error::not_found(uri).await);
    };
    let content_type = HeaderValue::try_from(file.content_type).expect("the name of a media type");
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)];
    Ok((headers, file.bytes).into_response())
}
