//! The events and metrics of rollouts.

use std::collections::BTreeMap;

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, Opts, Registry};

use super::event::Event;
use super::metrics::{Metrics, counters, gauge_of, register};

const ARMS: [&str; 3] = ["active", "canary", "shadow"];
const HOOKS: [&str; 3] = ["rate-shaper", "user-limit", "shard-picker"];
const ENDS: [&str; 3] = ["promoted", "rolled-back", "aborted"];

pub(super) struct RolloutMetrics {
    running: IntGauge,
    canary_share: Gauge,
    ended: IntCounterVec,
    decisions: IntCounterVec,
    failures: IntCounterVec,
    refusals: IntCounterVec,
    call_p99: GaugeVec,
    shadow_different: IntCounterVec,
    shadow_lost: IntCounterVec,
    guard: GaugeVec,
}

impl RolloutMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let by_arm = ["hook", "arm"];
        let this = Self {
            running: gauge_of(registry, "sluice_rollouts_running", "Rollouts that this gateway takes part in."),
            canary_share: register(
                registry,
                Gauge::new(
                    "sluice_rollout_canary_ratio",
                    "The share of the users that a candidate serves, 0 to 1; of several rollouts the highest.",
                ),
            ),
            ended: counters(
                registry,
                "sluice_rollouts_ended_total",
                "Rollouts that this gateway ended, by outcome: promoted, rolled-back or aborted.",
                &["outcome"],
            ),
            decisions: counters(
                registry,
                "sluice_rollout_decisions_total",
                "Decisions of the hooks that a rollout changes, by arm. The shadow's have no effect.",
                &by_arm,
            ),
            failures: counters(
                registry,
                "sluice_rollout_failures_total",
                "Decisions in which the policy trapped, took too long, needed too much memory or returned nonsense, by arm.",
                &by_arm,
            ),
            refusals: counters(
                registry,
                "sluice_rollout_refusals_total",
                "Decisions that refused the request, by arm.",
                &by_arm,
            ),
            call_p99: gauges(
                registry,
                "sluice_rollout_call_p99_seconds",
                "99th percentile of a policy call since the last step of a rollout, by arm.",
                &by_arm,
            ),
            shadow_different: counters(
                registry,
                "sluice_rollout_shadow_different_total",
                "Decisions of a shadow that differ from the active policy's.",
                &["hook"],
            ),
            shadow_lost: counters(
                registry,
                "sluice_rollout_shadow_lost_total",
                "Decisions that a shadow was not asked for, because it is slow or has no counters.",
                &["hook"],
            ),
            guard: gauges(
                registry,
                "sluice_rollout_guard_ratio",
                "What a guard found, divided by its bound; 0 before it has enough decisions. The rollout is rolled back when \
                 this is above 1 and not by chance. Of several rollouts the highest.",
                &["hook", "guard"],
            ),
        };
        this.create_series();
        this
    }

    fn create_series(&self) {
        for outcome in ENDS {
            self.ended.with_label_values(&[outcome]);
        }
        for hook in HOOKS {
            for arm in ARMS {
                for counters in [&self.decisions, &self.failures, &self.refusals] {
                    counters.with_label_values(&[hook, arm]);
                }
            }
            self.shadow_different.with_label_values(&[hook]);
            self.shadow_lost.with_label_values(&[hook]);
        }
    }
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(Opts::new(name, help), labels))
}

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
