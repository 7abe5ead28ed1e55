//! Numbers of the configuration that must lie between two bounds.

use serde::de::{Deserialize, Deserializer, Error};

/// Reads an integer from `MIN` to `MAX`; anything else is an error that says so.
///
/// # Errors
/// When it is not an integer, or not between the bounds.
pub(crate) fn bounded<'de, D: Deserializer<'de>, N: TryFrom<i64>, const MIN: i64, const MAX: i64>(
    deserializer: D,
) -> Result<N, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let refused = || D::Error::custom(format_args!("expected an integer from {MIN} to {MAX}, found {number}"));
    if (MIN..=MAX).contains(&number) { N::try_from(number).map_err(|_| refused()) } else { Err(refused()) }
}
