//! Whole numbers in JSON bodies.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// Larger integers are not exact as a floating-point number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A number without a fraction, however it is written: JSON has one type of number, and writers such as Java's
/// `BigDecimal` write a whole amount as `1000.00` or `1E+3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<N>(pub(super) N);

impl<'de, N: TryFrom<u64>> Deserialize<'de> for Whole<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_u64(WholeVisitor)?;
        let out_of_range = |_| D::Error::invalid_value(Unexpected::Unsigned(number), &"a smaller integer");
        N::try_from(number).map(Self).map_err(out_of_range)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer of at least 0")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        if number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number) {
            Ok(number as u64)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<N: TryFrom<u64>>(json: &str) -> Result<N, String> {
        serde_json::from_str::<Whole<N>>(json).map(|Whole(number)| number).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_number_is_accepted_however_it_is_written() {
        for json in ["1000", "1000.0", "1000.00", "1e3", "1E+3", "10000e-1"] {
            assert_eq!(parse::<u64>(json), Ok(1000), "{json}");
        }
        assert_eq!(parse::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse::<u64>("9007199254740993"), Ok(9_007_199_254_740_993));
        assert_eq!(parse::<u64>("-0.0"), Ok(0));
    }

    #[test]
    fn a_fraction_a_negative_number_and_an_inexact_one_are_refused() {
        for json in ["0.5", "1000.01", "-1", "-1.0", "1e16", "18446744073709551616", "\"1000\"", "true", "null"] {
            let error = parse::<u64>(json).expect_err(json);
            assert!(error.contains("expected an integer of at least 0"), "{json}: {error}");
        }
        let error = parse::<u32>("4294967296").expect_err("is too large");
        assert!(error.contains("expected a smaller integer"), "{error}");
    }
}
