//! Limits the coupons per user and campaign.
//!
//! A request counts while it waits for settlement and after it is granted. A request that settlement rejects
//! no longer counts, so the user may try again after a top-up.

use std::num::NonZeroU32;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Configuration, Measure, Measured, Measurements, Rejection, Request, Scope, USER_LIMIT, Window};

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Coupons per user and campaign. Default: the campaign's own limit.
    limit: Option<NonZeroU32>,
}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Count(Window { scope: Scope::UserOfCoupon, length_ms: 0 })]
    }
}

fn decide(config: &Config, _: &Request, measured: &[Measured], usage: &Usage) -> Admission {
    let limit = config.limit.map_or(usage.per_user_limit, NonZeroU32::get);
    if measured.count(0) > u64::from(limit) {
        Admission::Refuse(Rejection::permanent(USER_LIMIT))
    } else {
        Admission::Admit
    }
}

sluice_policy::export_user_limit!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{request, usage};

    use super::*;

    fn admission(config: &str, count: u64) -> Admission {
        let config: Config = parse_config(config).expect(config);
        decide(&config, &request(1, 1), &[Measured::Count(count)], &usage())
    }

    #[test]
    fn requests_are_admitted_up_to_and_including_the_limit() {
        assert_eq!(admission(r#"{"limit": 3}"#, 3), Admission::Admit);
        assert_eq!(admission(r#"{"limit": 3}"#, 4), Admission::Refuse(Rejection::permanent("USER_LIMIT")));
    }

    #[test]
    fn the_default_is_the_limit_of_the_campaign() {
        for limit in [1, 3] {
            let usage = Usage { per_user_limit: limit, ..usage() };
            let verdict = |count| decide(&Config::default(), &request(1, 1), &[Measured::Count(count)], &usage);
            assert_eq!(verdict(limit.into()), Admission::Admit);
            assert!(matches!(verdict(u64::from(limit) + 1), Admission::Refuse(_)));
        }
    }

    #[test]
    fn requests_are_counted_per_user_and_coupon_over_the_whole_campaign() {
        assert_eq!(Config::default().measures(), [Measure::Count(Window { scope: Scope::UserOfCoupon, length_ms: 0 })]);
    }

    #[test]
    fn the_largest_limit_is_enforced() {
        let config = r#"{"limit": 4294967295}"#;
        assert_eq!(admission(config, 4_294_967_295), Admission::Admit);
        assert!(matches!(admission(config, 4_294_967_296), Admission::Refuse(_)));
        assert!(matches!(admission(config, u64::MAX), Admission::Refuse(_)));
    }

    #[test]
    fn the_limit_of_the_configuration_holds_whatever_the_campaign_allows() {
        let generous = Usage { per_user_limit: 5, ..usage() };
        let config = parse_config(r#"{"limit": 1}"#).expect("a configuration");
        let verdict = decide(&config, &request(1, 1), &[Measured::Count(2)], &generous);
        assert!(matches!(verdict, Admission::Refuse(_)));
    }

    #[test]
    fn a_bad_configuration_is_rejected_with_the_name_of_its_key() {
        for (json, message) in [
            (r#"{"limit": 4294967296}"#, "limit: invalid value: integer `4294967296`, expected a nonzero u32"),
            (r#"{"limit": 0}"#, "limit: invalid value: integer `0`, expected a nonzero u32"),
            (r#"{"limit": "1"}"#, "limit: invalid type: string \"1\", expected a nonzero u32"),
            (r#"{"limt": 1}"#, "limt: unknown field `limt`, expected `limit`"),
        ] {
            let error = parse_config::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
