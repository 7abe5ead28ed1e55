//! The metrics of rollouts.

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, Opts, Registry};

use super::series::{counters, gauge_of, register};

const ARMS: [&str; 3] = ["active", "canary", "shadow"];
const HOOKS: [&str; 3] = ["rate-shaper", "user-limit", "shard-picker"];
const ENDS: [&str; 3] = ["promoted", "rolled-back", "aborted"];

pub(super) struct RolloutMetrics {
    pub(super) running: IntGauge,
    pub(super) canary_share: Gauge,
    pub(super) ended: IntCounterVec,
    pub(super) decisions: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    pub(super) call_p99: GaugeVec,
    pub(super) shadow_different: IntCounterVec,
    pub(super) shadow_lost: IntCounterVec,
    pub(super) guard: GaugeVec,
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
            call_p99: float_gauges(
                registry,
                "sluice_rollout_call_p99_seconds",
                "99th percentile of the processor time of a policy call since the last step of a rollout, by arm.",
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
            guard: float_gauges(
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

fn float_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(Opts::new(name, help), labels))
}
