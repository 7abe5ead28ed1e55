//! Reading bodies within bounds, and explaining what is wrong with a JSON one.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;

use super::error::Problem;
use super::limits::{BODY_BYTES_MAX, READ_TIMEOUT};

/// How long the rest of a body that is too long is read and discarded.
const DISCARD_MAX: Duration = Duration::from_secs(2);
/// How much of that rest is read, as a multiple of the limit.
const DISCARD_TIMES: usize = 2;

/// Reads a JSON body of up to [`BODY_BYTES_MAX`] bytes.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    check_type(headers, "application/json")?;
    parse(&bytes(headers, body, BODY_BYTES_MAX).await?)
}

/// As [`read`], for a body that may be absent or null.
pub(super) async fn read_optional<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<Option<T>, Problem> {
    let bytes = bytes(headers, body, BODY_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_type(headers, "application/json")?;
    if bytes.trim_ascii() == b"null" { Ok(None) } else { parse(&bytes).map(Some) }
}

fn check_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let found = if found.is_empty() { "none" } else { found };
    let detail = format!("expected Content-Type {expected}, found {found}");
    Err(Problem::unsupported(detail))
}

/// Nothing here decodes a body: it would be parsed, or stored, in its encoded form.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let mut encodings = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()));
    match encodings.find(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        Some(encoding) => {
            let detail = format!("expected no Content-Encoding, found {encoding}: send the body as it is");
            Err(Problem::unsupported(detail).with(header::ACCEPT_ENCODING, "identity"))
        }
        None => Ok(()),
    }
}

/// Reads a whole body of up to `bytes_max` bytes, within [`READ_TIMEOUT`].
pub(super) async fn bytes(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    check_encoding(headers)?;
    // A client that waits for 100 sends no body after any other answer. Reading the body would send 100.
    if headers.contains_key(header::EXPECT) && body.size_hint().lower() > bytes_max as u64 {
        return Err(Problem::too_large(bytes_max).with(header::CONNECTION, "close"));
    }
    let received = tokio::time::timeout(READ_TIMEOUT, collect(body, bytes_max)).await;
    received.unwrap_or_else(|_| Err(Problem::timed_out("body was")))
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut is_too_long = body.size_hint().lower() > bytes_max as u64;
    while !is_too_long && let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Problem::malformed(format!("the body was not received completely: {error}")))?;
        let data = frame.into_data().unwrap_or_default();
        is_too_long = bytes.len() + data.len() > bytes_max;
        bytes.extend_from_slice(&data);
    }
    if is_too_long {
        // Many clients read the answer only after they have sent the whole body: a close now would hide it.
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

/// Parses JSON. Text that is not JSON, or has a field twice, is MALFORMED. A missing field, or one of the wrong type,
/// is INVALID and named.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    check_object(bytes)?;
    // The path of a field is kept only when there is an error to explain.
    serde_json::from_slice(bytes).or_else(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| explain(&error))?;
        deserializer.end().map_err(|error| Problem::malformed(error.to_string()))?;
        Ok(value)
    })
}

/// Serde also reads a struct from an array of its values. Only an object is a valid body.
fn check_object(bytes: &[u8]) -> Result<(), Problem> {
    match bytes.trim_ascii_start().first() {
        Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            Err(Problem::malformed("expected a JSON object"))
        }
        // The parser has the better message for text that is not JSON.
        _ => Ok(()),
    }
}

/// Deserializes an object or null within a body. Serde also reads a struct from an array of its values.
///
/// # Errors
/// If the value is neither, or the object is not a `T`.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
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
