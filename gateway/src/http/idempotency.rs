//! The `Idempotency-Key` header.

use axum::http::HeaderMap;

use super::error::Problem;

const NAME: &str = "idempotency-key";
const BYTES_MAX: usize = 255;

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
