//! The series of one policy version. A generation looks them up once, not at every call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::metrics::Metrics;

/// Series of older, unloaded versions are removed: otherwise years of policy changes would fill the memory.
const VERSIONS_MAX: usize = 64;

/// Why a policy call gave no valid decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    calls: Histogram,
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
        let meter = Arc::new(PolicyMeter {
            labels: [hook.to_owned(), policy.to_owned(), version.to_owned()],
            calls: metrics.policy_call.with_label_values(&[hook, policy, version]),
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
}

impl PolicyMeter {
    /// Records a call, whether it failed or not.
    pub fn called(&self, duration: Duration) {
        self.calls.observe(duration.as_secs_f64());
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
