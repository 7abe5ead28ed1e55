//! The series of one policy version, looked up once a generation instead of once a call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::metrics::Metrics;

/// Series of older versions are let go, so that hot-loading for a year does not fill the memory.
const VERSIONS_MAX: usize = 64;

/// Why a policy gave no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The guest trapped.
    Trap,
    /// It took longer than its deadline.
    Deadline,
    /// It wanted more memory or a larger table than it may have.
    Memory,
    /// Its answer makes no sense, such as a shard that does not exist.
    Answer,
    /// No instance was free in time.
    Busy,
    /// What it asked to be measured could not be.
    Counters,
    /// It was not asked: its circuit breaker is open.
    CircuitOpen,
}

impl FailureReason {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Trap, Self::Deadline, Self::Memory, Self::Answer, Self::Busy, Self::Counters, Self::CircuitOpen];

    /// Whether a policy that fails so takes processor time from everybody.
    #[must_use]
    pub const fn is_costly(self) -> bool {
        matches!(self, Self::Deadline | Self::Memory)
    }

    /// The word that metrics and logs use.
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
        }
    }
}

/// Counts the calls of one version of a policy in one hook.
#[derive(Debug)]
pub struct PolicyMeter {
    labels: [String; 3],
    calls: Histogram,
    failures: [IntCounter; FailureReason::ALL.len()],
}

/// The meters of all policy versions that were ever loaded, newest last.
#[derive(Debug, Default)]
pub(super) struct PolicyMeters(Mutex<VecDeque<Arc<PolicyMeter>>>);

impl PolicyMeters {
    /// The meter of a version. Everybody who asks for one version gets the same meter.
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
    /// The guest answered, or failed, after so long.
    pub fn called(&self, duration: Duration) {
        self.calls.observe(duration.as_secs_f64());
    }

    /// The policy gave no decision.
    pub fn failed(&self, reason: FailureReason) {
        self.failures[reason as usize].inc();
    }

    fn remove_series(&self, metrics: &Metrics) {
        let [hook, policy, version] = &self.labels;
        // A series that is not there is as gone as it should be.
        let _ = metrics.policy_call.remove_label_values(&[hook, policy, version]);
        for reason in FailureReason::ALL {
            let _ = metrics.policy_failures.remove_label_values(&[hook, policy, version, reason.as_str()]);
        }
    }
}
