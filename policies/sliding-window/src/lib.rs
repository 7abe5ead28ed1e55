//! Limits the requests of a user, for all coupons together, in any window of time.

use std::num::NonZeroU32;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Configuration, Measure, Measured, Measurements, Rejection, Request, Scope, USER_LIMIT, Window};

/// A count does not tell how old the requests in a window are, so the beginning of the window is counted in this many
/// steps: `Retry-After` is exact to a quarter of the window. Each step is one more measure.
const STEPS: u32 = 4;

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

    /// What is left of the window once its first `steps` have passed. A length of 0 would mean the whole campaign.
    fn rest_ms(&self, steps: u32) -> u32 {
        let rest = u64::from(self.window_ms.get()) * u64::from(STEPS - steps) / u64::from(STEPS);
        u32::try_from(rest).unwrap_or(u32::MAX).max(1)
    }
}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        let count = |steps| Measure::Count(Window { scope: Scope::User, length_ms: self.rest_ms(steps).into() });
        (0..STEPS).map(count).collect()
    }
}

/// A request is admitted once the requests that are in its way have left the window: those that are in the whole window,
/// but not in what is left of it after some steps.
fn decide(config: &Config, _: &Request, measured: &[Measured], _: &Usage) -> Admission {
    let fits = |steps: &u32| measured.count(*steps as usize) <= u64::from(config.limit.get());
    let window_ms = config.window_ms.get();
    match (0..STEPS).find(fits) {
        Some(0) => Admission::Admit,
        Some(steps) => Admission::Refuse(Rejection::temporary(USER_LIMIT, window_ms - config.rest_ms(steps))),
        None => Admission::Refuse(Rejection::temporary(USER_LIMIT, window_ms)),
    }
}

sluice_policy::export_user_limit!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{request, usage};

    use super::*;

    /// `counts`: in the whole window, and in what is left of it after each step.
    fn admission(config: &Config, counts: [u64; STEPS as usize]) -> Admission {
        decide(config, &request(1, 1), &counts.map(Measured::Count), &usage())
    }

    fn refused_for(retry_after_ms: u32) -> Admission {
        Admission::Refuse(Rejection::temporary("USER_LIMIT", retry_after_ms))
    }

    #[test]
    fn requests_are_admitted_up_to_and_including_the_limit() {
        let config = Config::new(3, 5_000);
        assert_eq!(admission(&config, [3, 3, 3, 3]), Admission::Admit);
        assert_eq!(admission(&config, [4, 4, 4, 4]), refused_for(5_000));
    }

    #[test]
    fn a_refused_user_may_return_when_enough_requests_have_left_the_window() {
        let config = Config::new(3, 6_000);
        assert_eq!(admission(&config, [4, 3, 3, 1]), refused_for(1_500));
        assert_eq!(admission(&config, [4, 4, 2, 1]), refused_for(3_000));
        assert_eq!(admission(&config, [9, 7, 5, 3]), refused_for(4_500));
        assert_eq!(admission(&config, [9, 7, 5, 4]), refused_for(6_000));
    }

    #[test]
    fn requests_are_counted_per_user_for_all_coupons_together() {
        let count = |length_ms| Measure::Count(Window { scope: Scope::User, length_ms });
        assert_eq!(Config::new(3, 5_000).measures(), [5_000, 3_750, 2_500, 1_250].map(count));
        assert_eq!(Config::new(3, 1).measures(), [1, 1, 1, 1].map(count));
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
        assert_eq!(admission(&config, [u64::from(u32::MAX); 4]), Admission::Admit);
        assert_eq!(admission(&config, [u64::MAX; 4]), refused_for(u32::MAX));
        let longest = Measure::Count(Window { scope: Scope::User, length_ms: u64::from(u32::MAX) });
        assert_eq!(config.measures()[0], longest);
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
