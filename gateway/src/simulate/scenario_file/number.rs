//! Numbers of a scenario that have bounds.

use serde::de::{Deserialize, Deserializer, Error};

pub(super) fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a number from 0 up", |number| number >= 0.0)
}

/// A part of a whole.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a number from 0 to 1", |number| (0.0..=1.0).contains(&number))
}

/// Of a Zipf distribution. Its formula divides by 1 minus the exponent.
pub(super) fn exponent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    checked(deserializer, "a number above 0 other than 1", |number| number > 0.0 && number != 1.0).map(Some)
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    is_valid: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if is_valid(number) { Ok(number) } else { Err(D::Error::custom(format!("expected {expected}, found {number}"))) }
}
