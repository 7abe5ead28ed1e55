//! The events of rollouts.

use std::collections::BTreeMap;

use super::event::Event;
use super::metrics::Metrics;

/// The rollouts that this gateway takes part in.
#[derive(Debug, Clone, Copy)]
pub struct RolloutsSeen {
    pub running: u64,
    pub highest_share: f64,
}

impl Event for RolloutsSeen {
    fn record(self, metrics: &Metrics) {
        metrics.rollouts.running.set(self.running.cast_signed());
        metrics.rollouts.canary_share.set(self.highest_share);
    }
}

/// A rollout was ended, with this outcome.
#[derive(Debug, Clone, Copy)]
pub struct RolloutEnded(pub &'static str);

impl Event for RolloutEnded {
    fn record(self, metrics: &Metrics) {
        metrics.rollouts.ended.with_label_values(&[self.0]).inc();
    }
}

/// What an arm has decided since the last such event.
#[derive(Debug, Clone, Copy)]
pub struct ArmMeasured {
    pub hook: &'static str,
    pub arm: &'static str,
    pub decisions: u64,
    pub failures: u64,
    pub refusals: u64,
    /// Since the step began.
    pub call_p99_seconds: Option<f64>,
}

impl Event for ArmMeasured {
    fn record(self, metrics: &Metrics) {
        let (rollouts, labels) = (&metrics.rollouts, [self.hook, self.arm]);
        rollouts.decisions.with_label_values(&labels).inc_by(self.decisions);
        rollouts.failures.with_label_values(&labels).inc_by(self.failures);
        rollouts.refusals.with_label_values(&labels).inc_by(self.refusals);
        if let Some(seconds) = self.call_p99_seconds {
            rollouts.call_p99.with_label_values(&labels).set(seconds);
        }
    }
}

/// What a shadow has decided since the last such event.
#[derive(Debug, Clone, Copy)]
pub struct ShadowMeasured {
    pub hook: &'static str,
    pub different: u64,
    pub lost: u64,
}

impl Event for ShadowMeasured {
    fn record(self, metrics: &Metrics) {
        metrics.rollouts.shadow_different.with_label_values(&[self.hook]).inc_by(self.different);
        metrics.rollouts.shadow_lost.with_label_values(&[self.hook]).inc_by(self.lost);
    }
}

/// What the guards found, divided by their bounds, by hook and guard.
#[derive(Debug, Clone)]
pub struct GuardRead(pub BTreeMap<(&'static str, &'static str), f64>);

impl Event for GuardRead {
    fn record(self, metrics: &Metrics) {
        // A guard of a rollout that is over has no series.
        metrics.rollouts.guard.reset();
        for ((hook, guard), ratio) in self.0 {
            metrics.rollouts.guard.with_label_values(&[hook, guard]).set(ratio);
        }
    }
}
