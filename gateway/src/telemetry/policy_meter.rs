//! The series of one policy version. A generation looks them up once, not at every call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::local::LocalHistogram;
use prometheus::{IntCounter, IntGauge};
use serde::{Deserialize, Serialize};

use super::metrics::Metrics;
use crate::stripes::Stripes;

/// Series of older, unloaded versions are removed: otherwise years of policy changes would fill the memory.
const VERSIONS_MAX: usize = 64;
/// More than the workers of most machines.
const STRIPES: usize = 16;

/// Why a policy call gave no valid decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    Trap,
    /// It exceeded its deadline.
    Deadline,
    /// It exceeded its memory or table limit.
    Memory,
    /// It returned an invalid decision, such as a shard that does not exist.
    Answer,
    /// No instance became free in time.
    Busy,
    /// Its measures could not be taken: the counters are unreachable.
    Counters,
    /// It was not called: its circuit breaker is open.
    CircuitOpen,
    /// It was not called: it has used more than its share of the workers' time.
    OverBudget,
}

impl FailureReason {
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Answer,
        Self::Busy,
        Self::Counters,
        Self::CircuitOpen,
        Self::OverBudget,
    ];

    /// The label in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Answer => "answer",
            Self::Busy => "busy",
            Self::Counters => "counters",
            Self::CircuitOpen => "circuit_open",
            Self::OverBudget => "over_budget",
        }
    }
}

/// Measures the calls of one version of a policy in one hook.
#[derive(Debug)]
pub struct PolicyMeter {
    labels: [String; 3],
    /// The calls that are not in the series yet. They enter it when metrics are read: all threads write the series.
    calls: Stripes<LocalHistogram>,
    failures: [IntCounter; FailureReason::ALL.len()],
    instances: IntGauge,
}

/// Counts an instance as live until it is dropped.
#[derive(Debug)]
pub struct LiveInstance(Arc<PolicyMeter>);

impl Drop for LiveInstance {
    fn drop(&mut self) {
        self.0.instances.dec();
    }
}

/// The meters of loaded policy versions, newest last.
#[derive(Debug, Default)]
pub(super) struct PolicyMeters(Mutex<VecDeque<Arc<PolicyMeter>>>);

impl PolicyMeters {
    pub(super) fn get(&self, metrics: &Metrics, hook: &str, policy: &str, version: &str) -> Arc<PolicyMeter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.iter().find(|meter| meter.labels == [hook, policy, version]) {
            return Arc::clone(meter);
        }
        let calls = metrics.policy_call.with_label_values(&[hook, policy, version]);
        let meter = Arc::new(PolicyMeter {
            labels: [hook.to_owned(), policy.to_owned(), version.to_owned()],
            calls: Stripes::new((0..STRIPES).map(|_| calls.local())),
            failures: FailureReason::ALL
                .map(|reason| metrics.policy_failures.with_label_values(&[hook, policy, version, reason.as_str()])),
            instances: metrics.policy_instances.with_label_values(&[hook, policy, version]),
        });
        meters.push_back(Arc::clone(&meter));
        if meters.len() > VERSIONS_MAX
            && let Some(oldest) = meters.iter().position(|meter| Arc::strong_count(meter) == 1)
            && let Some(meter) = meters.remove(oldest)
        {
            meter.remove_series(metrics);
        }
        meter
    }

    /// Brings the series up to date.
    pub(super) fn flush(&self) {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.iter().flat_map(|meter| meter.calls.iter()).for_each(|calls| calls.flush());
    }
}

impl PolicyMeter {
    /// Records a call, whether it failed or not.
    pub fn called(&self, duration: Duration) {
        self.calls.own().observe(duration.as_secs_f64());
    }

    /// Records a failed call.
    pub fn failed(&self, reason: FailureReason) {
        self.failures[reason as usize].inc();
    }

    /// Counts one more instance.
    #[must_use]
    pub fn live_instance(self: &Arc<Self>) -> LiveInstance {
        self.instances.inc();
        LiveInstance(Arc::clone(self))
    }

    fn remove_series(&self, metrics: &Metrics) {
        let [hook, policy, version] = &self.labels;
        // Fails if the series does not exist.
        let _ = metrics.policy_call.remove_label_values(&[hook, policy, version]);
        let _ = metrics.policy_instances.remove_label_values(&[hook, policy, version]);
        for reason in FailureReason::ALL {
            let _ = metrics.policy_failures.remove_label_values(&[hook, policy, version, reason.as_str()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    #[test]
    fn calls_of_all_threads_are_in_the_metrics_that_are_read_next() {
        let telemetry = Telemetry::new();
        let meter = telemetry.policy_meter("user-limit", "quota", "1");
        let count = || {
            let metrics = String::from_utf8(telemetry.render()).expect("text");
            let line = metrics.lines().find(|line| line.starts_with("sluice_policy_call_seconds_count{"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("a series")
        };
        assert_eq!(count(), 0, "the series exists from the start");
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| meter.called(Duration::from_micros(1)));
            }
        });
        assert_eq!(count(), 2 * STRIPES as u64);
        meter.called(Duration::from_secs(1));
        assert_eq!(count(), 2 * STRIPES as u64 + 1);
    }
}
