//! So many coupons of a campaign for each user.
//!
//! A request counts while it waits or once it is granted; one that settlement rejects counts no more.

use std::num::NonZeroU32;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Answers, Configuration, Measure, Measured, Rejection, Request, Scope, USER_LIMIT, Window};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Coupons for each user.
    limit: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self { limit: NonZeroU32::MIN }
    }
}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Count(Window { scope: Scope::UserOfCoupon, length_ms: 0 })]
    }
}

fn decide(config: &Config, _: &Request, measured: &[Measured], _: &Usage) -> Admission {
    if measured.count(0) > u64::from(config.limit.get()) {
        Admission::Refuse(Rejection::for_good(USER_LIMIT))
    } else {
        Admission::Admit
    }
}

sluice_policy::export_user_limit!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse;
    use sluice_policy::testing::{request, usage};

    use super::*;

    fn admission(config: &str, count: u64) -> Admission {
        let config: Config = parse(config).expect(config);
        decide(&config, &request(1, 1), &[Measured::Count(count)], &usage())
    }

    #[test]
    fn the_limit_is_the_last_that_is_admitted() {
        assert_eq!(admission(r#"{"limit": 3}"#, 3), Admission::Admit);
        assert_eq!(
            admission(r#"{"limit": 3}"#, 4),
            Admission::Refuse(Rejection { code: "USER_LIMIT".to_owned(), retry_after_ms: None })
        );
    }

    #[test]
    fn without_a_configuration_there_is_one_for_each() {
        assert_eq!(admission("{}", 1), Admission::Admit);
        assert!(matches!(admission("{}", 2), Admission::Refuse(_)));
    }

    #[test]
    fn the_requests_of_a_user_for_a_coupon_are_counted_over_the_whole_campaign() {
        assert_eq!(Config::default().measures(), [Measure::Count(Window { scope: Scope::UserOfCoupon, length_ms: 0 })]);
    }

    #[test]
    fn a_bad_configuration_is_refused_by_the_name_of_its_field() {
        for (json, message) in [
            (r#"{"limit": 0}"#, "limit: invalid value: integer `0`, expected a nonzero u32"),
            (r#"{"limit": "1"}"#, "limit: invalid type: string \"1\", expected a nonzero u32"),
            (r#"{"limt": 1}"#, "limt: unknown field `limt`, expected `limit`"),
        ] {
            let error = parse::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
