//! The load of a scenario, in the terms of k6.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::super::profile::Profile;
use super::number::not_negative;

/// The options of a k6 scenario. Those that do not change the load are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the options of a k6 scenario")]
pub(super) struct WrittenLoad {
    executor: Executor,
    /// Requests in a `time_unit`.
    #[serde(default, deserialize_with = "not_negative")]
    rate: f64,
    #[serde(default, deserialize_with = "not_negative")]
    start_rate: f64,
    #[serde(default = "second", deserialize_with = "duration")]
    time_unit: Duration,
    #[serde(default, deserialize_with = "duration")]
    duration: Duration,
    #[serde(default)]
    stages: Vec<WrittenStage>,
    #[serde(default, deserialize_with = "not_negative")]
    vus: f64,
    #[serde(default, rename = "startVUs", deserialize_with = "not_negative")]
    start_vus: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Executor {
    ConstantArrivalRate,
    RampingArrivalRate,
    ConstantVus,
    RampingVus,
}

#[derive(Deserialize)]
#[serde(expecting = "a stage with `duration` and `target`")]
struct WrittenStage {
    #[serde(deserialize_with = "duration")]
    duration: Duration,
    #[serde(deserialize_with = "not_negative")]
    target: f64,
}

/// A field is wrong together with others.
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) message: String,
}

impl FieldError {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl WrittenLoad {
    /// `field` is the name of this load. A virtual user asks once in `think_seconds`: its response time is left out.
    pub(super) fn profile(&self, field: &str, think_seconds: f64) -> Result<Profile, FieldError> {
        let unit = match self.executor {
            Executor::ConstantArrivalRate | Executor::RampingArrivalRate => self.time_unit.as_secs_f64(),
            Executor::ConstantVus | Executor::RampingVus if think_seconds > 0.0 => think_seconds,
            Executor::ConstantVus | Executor::RampingVus => {
                let message = "expected more than 0: it turns virtual users into requests per second";
                return Err(FieldError::new("thinkSeconds", message));
            }
        };
        if unit == 0.0 {
            return Err(FieldError::new(format!("{field}.timeUnit"), "expected more than 0"));
        }
        let stages = || self.stages.iter().map(|stage| (stage.duration, stage.target / unit));
        let (profile, needed) = match self.executor {
            Executor::ConstantArrivalRate => {
                (Profile::constant(self.rate / unit, self.duration), "`rate` and `duration`")
            }
            Executor::RampingArrivalRate => (Profile::ramping(self.start_rate / unit, stages()), "`stages`"),
            Executor::ConstantVus => (Profile::constant(self.vus / unit, self.duration), "`vus` and `duration`"),
            Executor::RampingVus => (Profile::ramping(self.start_vus / unit, stages()), "`stages`"),
        };
        if profile.requests() == 0.0 {
            return Err(FieldError::new(field, format!("expected {needed} above 0, found a load without requests")));
        }
        Ok(profile)
    }
}

const fn second() -> Duration {
    Duration::from_secs(1)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let expected = || D::Error::custom(format!("expected a duration such as `1m30s` or `500ms`, found `{text}`"));
    parse_duration(&text).ok_or_else(expected)
}

/// The sum of numbers with units, as k6 reads it.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|letter: char| letter.is_ascii_alphabetic())?);
        let unit_end = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, ms) in [("2s", 2_000), ("500ms", 500), ("1m30s", 90_000), ("1.5s", 1_500), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1d", "1e400s", "1sx"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
