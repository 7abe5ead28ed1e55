//! The admin listener: its access check, and `GET /metrics`.

pub(super) mod coupons;
pub(super) mod log;
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

/// The SHA-256 of the bearer token. How long comparing two hashes takes tells an attacker nothing about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

/// A shorter token can be guessed.
const TOKEN_CHARACTERS_MIN: usize = 16;

impl AdminToken {
    /// Reads the token from the first line of a file.
    ///
    /// # Errors
    /// The message for the operator when the file cannot be read, or the token is too short.
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

/// Lets calls from this machine pass, and calls from other machines with the token. A cross-origin call is refused
/// from anywhere: a page in an operator's browser would otherwise reach the loopback address.
pub(super) async fn guard(State(token): State<Option<AdminToken>>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<SocketAddr>().is_some_and(|peer| peer.ip().is_loopback());
    let headers = request.headers();
    if is_cross_origin(headers) {
        let detail = "cross-origin calls are not allowed: the Origin header must match the Host header";
        return Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail).into_response();
    }
    if !local && (token.is_none() || bearer(headers) != token) {
        let detail = "calls from another machine need `Authorization: Bearer` with the token in admin.token_file";
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

fn is_cross_origin(headers: &HeaderMap) -> bool {
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
