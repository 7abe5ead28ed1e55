//! Limits the requests of a user, for all coupons together, in any window of time.

use std::num::NonZeroU32;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Configuration, Measure, Measured, Measurements, Rejection, Request, Scope, USER_LIMIT, Window};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Requests per user and window.
    limit: NonZeroU32,
    /// The length of the window in milliseconds.
    window_ms: NonZeroU32,
}

impl Default for Config {
    /// Ten requests per minute: more than a person sends, fewer than a program does.
    fn default() -> Self {
        const { Self::new(10, 60_000) }
    }
}

impl Config {
    const fn new(limit: u32, window_ms: u32) -> Self {
        Self {
            limit: NonZeroU32::new(limit).expect("nonzero"),
            window_ms: NonZeroU32::new(window_ms).expect("nonzero"),
        }
    }
}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Count(Window { scope: Scope::User, length_ms: u64::from(self.window_ms.get()) })]
    }
}

/// A count does not tell how old the requests in the window are, so `Retry-After` is a whole window. That is
/// the longest wait that may be necessary.
fn decide(config: &Config, _: &Request, measured: &[Measured], _: &Usage) -> Admission {
    if measured.count(0) > u64::from(config.limit.get()) {
        Admission::Refuse(Rejection::temporary(USER_LIMIT, config.window_ms.get()))
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

    fn admission(config: &Config, count: u64) -> Admission {
        decide(config, &request(1, 1), &[Measured::Count(count)], &usage())
    }

    #[test]
    fn requests_are_admitted_up_to_and_including_the_limit() {
        let config = Config::new(3, 5_000);
        assert_eq!(admission(&config, 3), Admission::Admit);
        assert_eq!(
            admission(&config, 4),
            Admission::Refuse(Rejection { code: "USER_LIMIT".to_owned(), retry_after_ms: Some(5_000) })
        );
    }

    #[test]
    fn requests_are_counted_per_user_for_all_coupons_together() {
        assert_eq!(Config::new(3, 5_000).measures(), [Measure::Count(Window { scope: Scope::User, length_ms: 5_000 })]);
    }

    #[test]
    fn a_missing_key_has_its_default() {
        assert_eq!(parse_config("{}"), Ok(Config::new(10, 60_000)));
        assert_eq!(parse_config(r#"{"limit": 2}"#), Ok(Config::new(2, 60_000)));
        assert_eq!(parse_config(r#"{"window_ms": 1}"#), Ok(Config::new(10, 1)));
    }

    #[test]
    fn the_longest_window_and_the_largest_count_are_handled() {
        let config = Config::new(u32::MAX, u32::MAX);
        assert_eq!(admission(&config, u64::from(u32::MAX)), Admission::Admit);
        assert_eq!(admission(&config, u64::MAX), Admission::Refuse(Rejection::temporary(USER_LIMIT, u32::MAX)));
        assert_eq!(config.measures(), [Measure::Count(Window { scope: Scope::User, length_ms: u64::from(u32::MAX) })]);
    }

    #[test]
    fn a_window_of_zero_is_rejected_because_it_would_mean_the_whole_campaign() {
        let error = parse_config::<Config>(r#"{"window_ms": 0}"#).expect_err("zero");
        assert!(error.starts_with("window_ms: invalid value: integer `0`, expected a nonzero u32"), "{error}");
    }

    #[test]
    fn a_bad_configuration_is_rejected_with_the_name_of_its_key() {
        for (json, message) in [
            (r#"{"limit": 0}"#, "limit: invalid value: integer `0`, expected a nonzero u32"),
            (r#"{"window_ms": 0.5}"#, "window_ms: invalid type: floating point `0.5`, expected a nonzero u32"),
            (r#"{"window": 1}"#, "window: unknown field `window`, expected `limit` or `window_ms`"),
        ] {
            let error = parse_config::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
