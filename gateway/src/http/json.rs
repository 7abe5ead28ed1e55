//! JSON bodies: read within bounds, and refused with the field and what was expected.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::error::Problem;
use super::{BODY_BYTES_MAX, READ_TIMEOUT};

/// What is left of a body that is too long is read for so long at most, and thrown away.
const DISCARD_MAX: Duration = Duration::from_secs(2);
/// And no further than so many times its bound.
const DISCARD_TIMES: usize = 2;

/// Reads a JSON body.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    expect_type(headers, "application/json")?;
    parse(&bytes(body, BODY_BYTES_MAX).await?)
}

/// Refuses a body that says to be something else.
fn expect_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let found = if given.is_empty() { "none" } else { given };
    let detail = format!("expected Content-Type {expected}, found {found}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail))
}

/// Reads a whole body, of so many bytes at most, from a client that sends it in time.
pub(super) async fn bytes(body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    tokio::time::timeout(READ_TIMEOUT, collect(body, bytes_max)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} seconds", READ_TIMEOUT.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", detail))
    })
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut is_too_long = body.size_hint().lower() > bytes_max as u64;
    while !is_too_long && let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        let data = frame.into_data().unwrap_or_default();
        is_too_long = bytes.len() + data.len() > bytes_max;
        bytes.extend_from_slice(&data);
    }
    if is_too_long {
        // A client reads the answer once it has sent its body; cut off in the middle, it would see none.
        let _ = tokio::time::timeout(DISCARD_MAX, discard(body, DISCARD_TIMES * bytes_max)).await;
        return Err(Problem::too_large(bytes_max));
    }
    Ok(bytes)
}

async fn discard(mut body: Body, bytes_max: usize) {
    let mut discarded = 0;
    while discarded < bytes_max
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.into_data().map_or(0, |data| data.len());
    }
}

/// Reads JSON. What is not JSON, or names a field twice, is malformed; a field that is absent or of
/// the wrong kind is invalid, and named.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    expect_object(bytes)?;
    // The path of a field is kept only when there is an error to explain.
    serde_json::from_slice(bytes).or_else(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| explain(&error))?;
        deserializer.end().map_err(|error| Problem::malformed(error.to_string()))?;
        Ok(value)
    })
}

/// A struct can be read from a list of its values too, and a list of values is nobody's request.
fn expect_object(bytes: &[u8]) -> Result<(), Problem> {
    match bytes.trim_ascii_start().first() {
        Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Err(Problem::malformed("expected an object")),
        // What is no JSON at all is told apart by the parser.
        _ => Ok(()),
    }
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let message = error.inner().to_string();
    if error.inner().classify() != Category::Data {
        return Problem::malformed(message);
    }
    let path = error.path().to_string();
    if let Some(field) = quoted_after(&message, "missing field") {
        let field = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
        return Problem::invalid(&field, format!("`{field}` is missing"));
    }
    if path == "." || message.starts_with("duplicate field") {
        return Problem::malformed(message);
    }
    Problem::invalid(&path, format!("`{path}`: {message}"))
}

fn quoted_after<'a>(message: &'a str, words: &str) -> Option<&'a str> {
    message.strip_prefix(words)?.split('`').nth(1)
}
