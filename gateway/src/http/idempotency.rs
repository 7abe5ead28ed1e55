//! The `Idempotency-Key` header.

use axum::http::HeaderMap;
use utoipa::IntoParams;

use super::error::Problem;

const NAME: &str = "idempotency-key";
const BYTES_MAX: usize = 255;

/// Describes the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct KeyHeader {
    /// A random key, such as a UUID, under which the call can be repeated safely.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255)]
    _key: Option<String>,
}

/// The key, if the client sent one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let Some(key) = headers.get(NAME) else { return Ok(None) };
    let length = key.len();
    if (1..=BYTES_MAX).contains(&length) {
        return Ok(Some(key.as_bytes()));
    }
    let detail = format!("Idempotency-Key: expected 1 to {BYTES_MAX} characters, found {length}");
    Err(Problem::malformed(detail))
}
