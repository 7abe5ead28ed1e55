//! Whole numbers in JSON bodies.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Larger integers are not exact as a floating-point number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A number from `MIN` to `MAX` without a fraction, however it is written: JSON has one type of number, and writers such
/// as Java's `BigDecimal` write a whole amount as `1000.00` or `1E+3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<N, const MIN: u64, const MAX: u64>(pub(super) N);

impl<'de, N: TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<N, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<N, const MIN: u64, const MAX: u64>(PhantomData<N>);

impl<N: TryFrom<u64>, const MIN: u64, const MAX: u64> Visitor<'_> for WholeVisitor<N, MIN, MAX> {
    type Value = Whole<N, MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {MIN} to {MAX}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let in_range = if (MIN..=MAX).contains(&number) { N::try_from(number).ok() } else { None };
        in_range.map(Whole).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        if number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number) {
            self.visit_u64(number as u64)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

impl<N, const MIN: u64, const MAX: u64> PartialSchema for Whole<N, MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        number.minimum(Some(MIN as usize)).maximum(Some(MAX as usize)).into()
    }
}

impl<N, const MIN: u64, const MAX: u64> ToSchema for Whole<N, MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("IntegerFrom{MIN}To{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Amount = Whole<u64, 0, { u64::MAX }>;
    type Few = Whole<u32, 1, 256>;

    fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_number_is_accepted_however_it_is_written() {
        for json in ["1000", "1000.0", "1000.00", "1e3", "1E+3", "10000e-1"] {
            assert_eq!(parse::<Amount>(json), Ok(Whole(1000)), "{json}");
        }
        assert_eq!(parse::<Amount>("18446744073709551615"), Ok(Whole(u64::MAX)));
        assert_eq!(parse::<Amount>("9007199254740993"), Ok(Whole(9_007_199_254_740_993)));
        assert_eq!(parse::<Amount>("-0.0"), Ok(Whole(0)));
    }

    #[test]
    fn a_fraction_a_negative_number_and_an_inexact_one_are_refused() {
        for json in ["0.5", "1000.01", "-1", "-1.0", "1e16", "18446744073709551616", "\"1000\"", "true", "null"] {
            let error = parse::<Amount>(json).expect_err(json);
            assert!(error.contains("expected an integer from 0 to 18446744073709551615"), "{json}: {error}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused() {
        assert_eq!((parse::<Few>("1"), parse::<Few>("256")), (Ok(Whole(1)), Ok(Whole(256))));
        for json in ["0", "257", "257.0", "4294967297"] {
            let error = parse::<Few>(json).expect_err(json);
            assert!(error.contains("expected an integer from 1 to 256"), "{json}: {error}");
        }
    }
}
