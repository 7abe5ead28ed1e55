//! Slows requests down while settlement falls behind, and sheds them where it is too far behind.
//!
//! The delay grows evenly from nothing, where settlement is `delay_from_seconds` behind, to
//! `delay_ms_max`, where it is `shed_from_seconds` behind; from there on requests are shed.

use serde::Deserialize;
use sluice_policy::rate_shaper::{Load, Shaping};
use sluice_policy::{Configuration, Measured, RATE_LIMITED, Rejection, Request};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The lag from which on requests are delayed.
    delay_from_seconds: f64,
    /// The lag from which on requests are shed.
    shed_from_seconds: f64,
    /// The delay just before requests are shed.
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
            return Err(format!("delay_from_seconds: expected 0 or more, got {delay_from}"));
        }
        if shed_from <= delay_from {
            return Err(format!(
                "shed_from_seconds: expected more than delay_from_seconds, which is {delay_from}, got {shed_from}"
            ));
        }
        Ok(())
    }
}

fn decide(config: &Config, _: &Request, _: &[Measured], load: &Load) -> Shaping {
    let lag_seconds = load.lag_seconds;
    let beyond_seconds = lag_seconds - config.delay_from_seconds;
    if lag_seconds >= config.shed_from_seconds {
        Shaping::Shed(Rejection::for_ms(RATE_LIMITED, whole_ms(beyond_seconds * 1_000.0)))
    } else if beyond_seconds > 0.0 {
        let ramp_seconds = config.shed_from_seconds - config.delay_from_seconds;
        let ramp = beyond_seconds / ramp_seconds;
        Shaping::Delay(whole_ms(ramp * f64::from(config.delay_ms_max)))
    } else {
        Shaping::Pass
    }
}

/// The next whole millisecond, at most what 32 bits hold.
fn whole_ms(ms: f64) -> u32 {
    ms.ceil() as u32
}

sluice_policy::export_rate_shaper!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse;
    use sluice_policy::testing::{load, request};

    use super::*;

    fn shaping(lag_seconds: f64) -> Shaping {
        decide(&Config::default(), &request(1, 1), &[], &load(lag_seconds))
    }

    fn shed_for_ms(retry_after_ms: u32) -> Shaping {
        Shaping::Shed(Rejection { code: "RATE_LIMITED".to_owned(), retry_after_ms: Some(retry_after_ms) })
    }

    #[test]
    fn a_request_passes_while_settlement_keeps_up() {
        for lag_seconds in [0.0, 0.5, 1.0, f64::NAN] {
            assert_eq!(shaping(lag_seconds), Shaping::Pass, "{lag_seconds}");
        }
    }

    #[test]
    fn the_delay_grows_evenly_between_the_two_bounds() {
        for (lag_seconds, delay_ms) in [(1.001, 1), (2.8, 100), (5.5, 250), (9.999, 500)] {
            assert_eq!(shaping(lag_seconds), Shaping::Delay(delay_ms), "{lag_seconds}");
        }
    }

    #[test]
    fn a_request_is_shed_for_as_long_as_settlement_has_to_catch_up() {
        assert_eq!(shaping(10.0), shed_for_ms(9_000));
        assert_eq!(shaping(61.0), shed_for_ms(60_000));
        assert_eq!(shaping(f64::INFINITY), shed_for_ms(u32::MAX));
    }

    #[test]
    fn a_configuration_may_leave_out_what_it_does_not_change() {
        assert_eq!(parse("{}"), Ok(Config::default()));
        assert_eq!(parse(r#"{"shed_from_seconds": 2}"#), Ok(Config { shed_from_seconds: 2.0, ..Config::default() }));
    }

    #[test]
    fn a_bad_configuration_is_refused_by_the_name_of_its_field() {
        for (json, message) in [
            (r#"{"delay_from_seconds": -1}"#, "delay_from_seconds: expected 0 or more, got -1"),
            (
                r#"{"shed_from_seconds": 1}"#,
                "shed_from_seconds: expected more than delay_from_seconds, which is 1, got 1",
            ),
            (r#"{"delay_from_seconds": "1"}"#, "delay_from_seconds: invalid type: string \"1\", expected f64"),
            (r#"{"delay_ms_max": 4294967296}"#, "delay_ms_max: invalid value: integer `4294967296`, expected u32"),
            (r#"{"delay_ms": 1}"#, "delay_ms: unknown field `delay_ms`, expected one of"),
        ] {
            let error = parse::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
