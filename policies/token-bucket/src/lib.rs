//! Passes a steady rate of requests and a burst above it. Other requests are shed until the next token.

use std::num::NonZeroU32;

use serde::Deserialize;
use sluice_policy::rate_shaper::{Load, Shaping};
use sluice_policy::{
    BucketState, Configuration, Measure, Measured, Measurements, RATE_LIMITED, Rate, Rejection, Request, Scope,
};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Requests per second, in the long run.
    per_second: NonZeroU32,
    /// Requests at once, when the bucket is full.
    burst: NonZeroU32,
    /// Which requests share a bucket.
    scope: Scope,
}

impl Default for Config {
    fn default() -> Self {
        const { Self::new(50_000, 10_000, Scope::Gateway) }
    }
}

impl Config {
    const fn new(per_second: u32, burst: u32, scope: Scope) -> Self {
        Self {
            per_second: NonZeroU32::new(per_second).expect("nonzero"),
            burst: NonZeroU32::new(burst).expect("nonzero"),
            scope,
        }
    }
}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Bucket(Rate {
            scope: self.scope,
            requests: self.per_second.get(),
            per_ms: 1_000,
            burst: self.burst.get(),
        })]
    }
}

fn decide(_: &Config, _: &Request, measured: &[Measured], _: &Load) -> Shaping {
    match measured.bucket(0) {
        BucketState::Conforming => Shaping::Pass,
        BucketState::ConformingInMs(wait_ms) => Shaping::Shed(Rejection::temporary(RATE_LIMITED, wait_ms)),
    }
}

sluice_policy::export_rate_shaper!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{load, request};

    use super::*;

    fn shaping(state: BucketState) -> Shaping {
        decide(&Config::default(), &request(1, 1), &[Measured::Bucket(state)], &load(0.0))
    }

    #[test]
    fn a_request_with_a_token_passes() {
        assert_eq!(shaping(BucketState::Conforming), Shaping::Pass);
    }

    #[test]
    fn a_request_without_a_token_is_shed_until_the_next_token() {
        for wait_ms in [1, 40, u32::MAX] {
            assert_eq!(
                shaping(BucketState::ConformingInMs(wait_ms)),
                Shaping::Shed(Rejection::temporary("RATE_LIMITED", wait_ms))
            );
        }
    }

    #[test]
    fn the_declared_bucket_is_the_configured_one() {
        assert_eq!(
            Config::new(7, 3, Scope::UserOfCoupon).measures(),
            [Measure::Bucket(Rate { scope: Scope::UserOfCoupon, requests: 7, per_ms: 1_000, burst: 3 })]
        );
    }

    #[test]
    fn a_missing_key_has_its_default() {
        assert_eq!(parse_config("{}"), Ok(Config::new(50_000, 10_000, Scope::Gateway)));
        assert_eq!(
            parse_config(r#"{"burst": 1, "scope": "user-of-coupon"}"#),
            Ok(Config::new(50_000, 1, Scope::UserOfCoupon))
        );
    }

    #[test]
    fn the_smallest_and_the_largest_rate_are_accepted() {
        for limit in [1, u32::MAX] {
            let json = format!(r#"{{"per_second": {limit}, "burst": {limit}}}"#);
            assert_eq!(parse_config(&json), Ok(Config::new(limit, limit, Scope::Gateway)));
        }
    }

    #[test]
    fn a_bad_configuration_is_rejected_with_the_name_of_its_key() {
        for (json, message) in [
            (r#"{"per_second": 0}"#, "per_second: invalid value: integer `0`, expected a nonzero u32"),
            (
                r#"{"per_second": 4294967296}"#,
                "per_second: invalid value: integer `4294967296`, expected a nonzero u32",
            ),
            (r#"{"per_second": 0.5}"#, "per_second: invalid type: floating point `0.5`, expected a nonzero u32"),
            (r#"{"burst": -1}"#, "burst: invalid value: integer `-1`, expected a nonzero u32"),
            (r#"{"scope": "world"}"#, "scope: unknown variant `world`, expected one of"),
            (r#"{"rate": 1}"#, "rate: unknown field `rate`, expected one of"),
        ] {
            let error = parse_config::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
