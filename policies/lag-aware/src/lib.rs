//! Delays requests while settlement lags, and sheds them past a bound.
//!
//! The delay grows linearly, from 0 at a lag of `delay_from_seconds` to `delay_ms_max` at a lag of
//! `shed_from_seconds`. From that lag on, requests are shed.
//!
//! A gateway knows the lag only of records that it settles itself. In a process of the role `gateway` the lag
//! is always 0, so every request passes.

use serde::Deserialize;
use sluice_policy::rate_shaper::{Load, Shaping};
use sluice_policy::{Configuration, Measured, RATE_LIMITED, Rejection, Request};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Requests are delayed above this lag.
    delay_from_seconds: f64,
    /// Requests are shed from this lag on.
    shed_from_seconds: f64,
    /// The delay at the lag from which requests are shed. The gateway waits at most 2000 ms.
    delay_ms_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay_from_seconds: 1.0, shed_from_seconds: 10.0, delay_ms_max: 500 }
    }
}

impl Configuration for Config {
    fn validate(&self) -> Result<(), String> {
        let Self { delay_from_seconds: delay_from, shed_from_seconds: shed_from, .. } = self;
        if *delay_from < 0.0 {
            return Err(format!("delay_from_seconds: expected at least 0, got {delay_from}"));
        }
        if shed_from <= delay_from {
            return Err(format!(
                "shed_from_seconds: expected more than delay_from_seconds ({delay_from}), got {shed_from}"
            ));
        }
        Ok(())
    }
}

fn decide(config: &Config, _: &Request, _: &[Measured], load: &Load) -> Shaping {
    let lag_seconds = load.lag_seconds;
    let excess_seconds = lag_seconds - config.delay_from_seconds;
    if lag_seconds >= config.shed_from_seconds {
        // By then settlement has caught up, if no more requests are accepted meanwhile.
        Shaping::Shed(Rejection::temporary(RATE_LIMITED, ceil_ms(excess_seconds * 1_000.0)))
    } else if excess_seconds > 0.0 {
        let excess_seconds_max = config.shed_from_seconds - config.delay_from_seconds;
        let fraction = excess_seconds / excess_seconds_max;
        Shaping::Delay(ceil_ms(fraction * f64::from(config.delay_ms_max)))
    } else {
        Shaping::Pass
    }
}

/// Rounds up to whole milliseconds, and saturates at `u32::MAX`.
fn ceil_ms(ms: f64) -> u32 {
    ms.ceil() as u32
}

sluice_policy::export_rate_shaper!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{load, request};

    use super::*;

    fn shaping(lag_seconds: f64) -> Shaping {
        shaping_with(&Config::default(), lag_seconds)
    }

    fn shaping_with(config: &Config, lag_seconds: f64) -> Shaping {
        decide(config, &request(1, 1), &[], &load(lag_seconds))
    }

    fn shed(retry_after_ms: u32) -> Shaping {
        Shaping::Shed(Rejection::temporary("RATE_LIMITED", retry_after_ms))
    }

    #[test]
    fn a_request_passes_up_to_the_lower_bound() {
        for lag_seconds in [0.0, 0.5, 1.0, f64::NAN] {
            assert_eq!(shaping(lag_seconds), Shaping::Pass, "{lag_seconds}");
        }
    }

    #[test]
    fn the_delay_grows_linearly_between_the_bounds() {
        for (lag_seconds, delay_ms) in [(1.001, 1), (2.8, 100), (5.5, 250), (9.999, 500)] {
            assert_eq!(shaping(lag_seconds), Shaping::Delay(delay_ms), "{lag_seconds}");
        }
    }

    #[test]
    fn a_request_is_shed_from_the_upper_bound_on_until_settlement_can_catch_up() {
        assert_eq!(shaping(10.0), shed(9_000));
        assert_eq!(shaping(61.0), shed(60_000));
        assert_eq!(shaping(f64::INFINITY), shed(u32::MAX));
    }

    #[test]
    fn a_maximum_delay_of_zero_never_delays() {
        let config = Config { delay_ms_max: 0, ..Config::default() };
        assert_eq!(shaping_with(&config, 9.999), Shaping::Delay(0));
        assert_eq!(shaping_with(&config, 10.0), shed(9_000));
    }

    #[test]
    fn the_largest_delay_is_reached_without_overflow() {
        let config = Config { delay_ms_max: u32::MAX, ..Config::default() };
        assert_eq!(shaping_with(&config, 10.0 - f64::EPSILON * 8.0), Shaping::Delay(u32::MAX));
    }

    #[test]
    fn a_lower_bound_of_zero_still_passes_requests_without_a_lag() {
        let config = Config { delay_from_seconds: 0.0, ..Config::default() };
        assert_eq!(shaping_with(&config, 0.0), Shaping::Pass);
        assert_eq!(shaping_with(&config, 0.001), Shaping::Delay(1));
    }

    #[test]
    fn a_missing_key_has_its_default() {
        assert_eq!(parse_config("{}"), Ok(Config::default()));
        assert_eq!(
            parse_config(r#"{"shed_from_seconds": 2}"#),
            Ok(Config { shed_from_seconds: 2.0, ..Config::default() })
        );
    }

    #[test]
    fn a_bad_configuration_is_rejected_with_the_name_of_its_key() {
        for (json, message) in [
            (r#"{"delay_from_seconds": -1}"#, "delay_from_seconds: expected at least 0, got -1"),
            (r#"{"shed_from_seconds": 1}"#, "shed_from_seconds: expected more than delay_from_seconds (1), got 1"),
            (r#"{"shed_from_seconds": 1e400}"#, "shed_from_seconds: number out of range"),
            (r#"{"delay_from_seconds": "1"}"#, "delay_from_seconds: invalid type: string \"1\", expected f64"),
            (r#"{"delay_ms_max": 4294967296}"#, "delay_ms_max: invalid value: integer `4294967296`, expected u32"),
            (r#"{"delay_ms": 1}"#, "delay_ms: unknown field `delay_ms`, expected one of"),
        ] {
            let error = parse_config::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
