//! Integers of the configuration that have bounds.

use serde::de::{Deserialize, Deserializer, Error};

/// Deserializes an integer from `MIN` to `MAX`, both included.
///
/// # Errors
/// If the value is not an integer, or is out of bounds.
pub(crate) fn bounded<'de, D: Deserializer<'de>, N: TryFrom<i64>, const MIN: i64, const MAX: i64>(
    deserializer: D,
) -> Result<N, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let out_of_bounds = || D::Error::custom(format_args!("expected an integer from {MIN} to {MAX}, found {number}"));
    if (MIN..=MAX).contains(&number) { N::try_from(number).map_err(|_| out_of_bounds()) } else { Err(out_of_bounds()) }
}
