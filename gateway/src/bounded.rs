//! Integers of the configuration that have bounds.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Expected, Visitor};

/// Deserializes a whole number from `MIN` to `MAX`, both included.
///
/// # Errors
/// If the value is not a whole number, or is out of bounds.
pub(crate) fn bounded<'de, D: Deserializer<'de>, N: TryFrom<i64>, const MIN: i64, const MAX: i64>(
    deserializer: D,
) -> Result<N, D::Error> {
    let bounds = Bounds::<MIN, MAX>;
    let number = deserializer.deserialize_i64(bounds)?;
    N::try_from(number).map_err(|_| bounds.exceeded(number))
}

#[derive(Clone, Copy)]
struct Bounds<const MIN: i64, const MAX: i64>;

impl<const MIN: i64, const MAX: i64> Bounds<MIN, MAX> {
    fn exceeded<E: Error>(self, found: impl fmt::Display) -> E {
        E::custom(format_args!("expected {}, found {found}", &self as &dyn Expected))
    }
}

impl<const MIN: i64, const MAX: i64> Visitor<'_> for Bounds<MIN, MAX> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        if (MIN..=MAX).contains(&number) { Ok(number) } else { Err(self.exceeded(number)) }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| self.exceeded(number)).and_then(|number| self.visit_i64(number))
    }
}

/// As [`bounded`], for a key that may be missing or null.
///
/// # Errors
/// As `bounded`.
pub(crate) fn some_bounded<'de, D: Deserializer<'de>, N: TryFrom<i64>, const MIN: i64, const MAX: i64>(
    deserializer: D,
) -> Result<Option<N>, D::Error> {
    deserializer.deserialize_option(Optional::<N, MIN, MAX>(PhantomData))
}

struct Optional<N, const MIN: i64, const MAX: i64>(PhantomData<N>);

impl<'de, N: TryFrom<i64>, const MIN: i64, const MAX: i64> Visitor<'de> for Optional<N, MIN, MAX> {
    type Value = Option<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Bounds::<MIN, MAX>.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<N>, D::Error> {
        bounded::<D, N, MIN, MAX>(deserializer).map(Some)
    }
}
