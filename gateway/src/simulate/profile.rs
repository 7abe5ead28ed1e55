//! The rate of requests over time, and when each of them arrives.

use std::time::Duration;

/// An open model: the rate does not depend on the answers. It changes linearly within a stage, as k6's does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    stages: Vec<Stage>,
}

/// Rates are in requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stage {
    duration: Duration,
    from: f64,
    to: f64,
}

impl Profile {
    #[must_use]
    pub fn constant(rate: f64, duration: Duration) -> Self {
        Self { stages: vec![Stage { duration, from: rate, to: rate }] }
    }

    /// Takes the rate at the start, and each stage with the rate at its end.
    #[must_use]
    pub fn ramping(start: f64, stages: impl IntoIterator<Item = (Duration, f64)>) -> Self {
        let mut from = start;
        let stage = |(duration, to)| Stage { duration, from: std::mem::replace(&mut from, to), to };
        Self { stages: stages.into_iter().map(stage).collect() }
    }

    /// The expected number of requests.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.stages.iter().map(Stage::requests).sum()
    }

    /// The arrival times: a request arrives whenever the expected number reaches a whole number, from 0.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = Duration> + '_ {
        let mut before = (Duration::ZERO, 0.0);
        let mut next = 0.0_f64;
        self.stages.iter().flat_map(move |stage| {
            let (start, requests) = before;
            before = (start + stage.duration, requests + stage.requests());
            let first = next;
            next = before.1.ceil().max(first);
            let count = (next - first) as u64;
            (0..count).map(move |index| start + stage.time_of(first + index as f64 - requests))
        })
    }
}

impl Stage {
    fn requests(&self) -> f64 {
        self.duration.as_secs_f64() * f64::midpoint(self.from, self.to)
    }

    /// The time in the stage at which the expected number of its requests reaches `number`: the root of
    /// `from · t + (to - from) / (2 · duration) · t²`, in the form that does not divide by a difference near zero.
    fn time_of(&self, number: f64) -> Duration {
        if number <= 0.0 {
            return Duration::ZERO;
        }
        let seconds = self.duration.as_secs_f64();
        let growth = 2.0 * (self.to - self.from) / seconds;
        let root = (self.from * self.from + growth * number).max(0.0).sqrt();
        Duration::from_secs_f64((2.0 * number / (self.from + root)).min(seconds))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn milliseconds(profile: &Profile) -> Vec<u128> {
        profile.arrivals().map(|at| at.as_millis()).collect()
    }

    #[test]
    fn requests_of_a_constant_rate_arrive_at_equal_intervals() {
        assert_eq!(milliseconds(&Profile::constant(5.0, seconds(1.0))), [0, 200, 400, 600, 800]);
    }

    #[test]
    fn requests_of_a_ramp_arrive_when_the_expected_number_is_whole() {
        // n = 4 t² / 2: at the square roots of n / 2 seconds.
        let ramp = Profile::ramping(0.0, [(seconds(2.0), 8.0)]);
        assert_eq!(milliseconds(&ramp), [0, 707, 1000, 1224, 1414, 1581, 1732, 1870]);
        let down = Profile::ramping(2.0, [(seconds(2.0), 0.0)]);
        assert_eq!(milliseconds(&down), [0, 585]);
    }

    #[test]
    fn a_stage_without_requests_only_takes_time() {
        let profile = Profile::ramping(0.0, [(seconds(3.0), 0.0), (seconds(0.0), 2.0), (seconds(1.0), 2.0)]);
        assert_eq!(milliseconds(&profile), [3000, 3500]);
    }

    proptest! {
        #[test]
        fn as_many_requests_arrive_as_expected_and_in_order(
            start in 0.0..500.0_f64,
            stages in prop::collection::vec((0.0..3.0_f64, 0.0..500.0_f64), 0..5),
        ) {
            let profile = Profile::ramping(start, stages.into_iter().map(|(length, rate)| (seconds(length), rate)));
            let arrivals: Vec<_> = profile.arrivals().collect();
            prop_assert_eq!(arrivals.len() as f64, profile.requests().ceil());
            prop_assert!(arrivals.is_sorted());
        }
    }
}
