//! The admin listener: who may call it, and the metrics.

pub(super) mod coupons;
pub(super) mod policies;

use std::net::SocketAddr;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::error::Problem;
use crate::secret::read_secret;
use crate::telemetry::Telemetry;

/// The hash of the bearer token: comparing hashes tells nothing of the token by how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

/// A token that can be guessed is none.
const TOKEN_CHARACTERS_MIN: usize = 16;

impl AdminToken {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// When the file cannot be read, or the token is too short.
    pub fn read(path: &Path) -> Result<Self, String> {
        let token = read_secret(path).map_err(|error| format!("admin.token_file: {error}"))?;
        if token.len() < TOKEN_CHARACTERS_MIN {
            return Err(format!(
                "admin.token_file: {}: expected a token of at least {TOKEN_CHARACTERS_MIN} characters on the first line",
                path.display()
            ));
        }
        Ok(Self::of(&token))
    }

    fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Lets calls of this machine through, and others only with the token. A page in an operator's browser
/// may not call at all, unless it came from here.
pub(super) async fn guard(State(token): State<Option<AdminToken>>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<SocketAddr>().is_some_and(|peer| peer.ip().is_loopback());
    let headers = request.headers();
    if is_foreign_page(headers) {
        let detail = "a page of another origin may not call the admin listener";
        return Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail).into_response();
    }
    if !local && (token.is_none() || bearer(headers) != token) {
        let detail = "expected Authorization: Bearer with the token of admin.token_file";
        return Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", detail)
            .with(header::WWW_AUTHENTICATE, "Bearer")
            .into_response();
    }
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<AdminToken> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim).map(AdminToken::of)
}

fn is_foreign_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, origin)| origin != host),
        (Some(_), None) => true,
    }
}

pub(super) async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry.render())
}
