//! So many requests of a user, for whichever coupon, in any stretch of time.

use std::num::NonZeroU32;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Answers, Configuration, Measure, Measured, Rejection, Request, Scope, USER_LIMIT, Window};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Requests of a user in a window.
    limit: NonZeroU32,
    /// The length of the window in milliseconds.
    window_ms: NonZeroU32,
}

impl Default for Config {
    /// Ten a minute: more than a person asks for, less than a program does.
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

/// Refuses for a whole window: how old the requests in it are, a count does not say.
fn decide(config: &Config, _: &Request, measured: &[Measured], _: &Usage) -> Admission {
    if measured.count(0) > u64::from(config.limit.get()) {
        Admission::Refuse(Rejection::for_ms(USER_LIMIT, config.window_ms.get()))
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

    fn admission(config: &Config, count: u64) -> Admission {
        decide(config, &request(1, 1), &[Measured::Count(count)], &usage())
    }

    #[test]
    fn the_limit_is_the_last_that_is_admitted() {
        let config = Config::new(3, 5_000);
        assert_eq!(admission(&config, 3), Admission::Admit);
        assert_eq!(
            admission(&config, 4),
            Admission::Refuse(Rejection { code: "USER_LIMIT".to_owned(), retry_after_ms: Some(5_000) })
        );
    }

    #[test]
    fn a_user_is_counted_for_all_coupons_together_over_the_window() {
        assert_eq!(Config::new(3, 5_000).measures(), [Measure::Count(Window { scope: Scope::User, length_ms: 5_000 })]);
    }

    #[test]
    fn a_configuration_may_leave_out_what_it_does_not_change() {
        assert_eq!(parse("{}"), Ok(Config::new(10, 60_000)));
        assert_eq!(parse(r#"{"limit": 2}"#), Ok(Config::new(2, 60_000)));
        assert_eq!(parse(r#"{"window_ms": 1}"#), Ok(Config::new(10, 1)));
    }

    #[test]
    fn a_bad_configuration_is_refused_by_the_name_of_its_field() {
        for (json, message) in [
            (r#"{"limit": 0}"#, "limit: invalid value: integer `0`, expected a nonzero u32"),
            (r#"{"window_ms": 0.5}"#, "window_ms: invalid type: floating point `0.5`, expected a nonzero u32"),
            (r#"{"window": 1}"#, "window: unknown field `window`, expected `limit` or `window_ms`"),
        ] {
            let error = parse::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
