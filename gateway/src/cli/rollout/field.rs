//! Fields of an answer as text.

use serde_json::Value;

pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// In whole seconds.
pub(super) fn time(at_ms: &Value) -> String {
    let seconds = at_ms.as_i64().unwrap_or_default().div_euclid(1000);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
