//! What the arms of a rollout have decided since its last step began.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use crate::counters::PerHook;
use crate::policy::{Decided, OwnedContext};
use crate::telemetry::FailureReason;

/// What one policy has decided for one hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HookTally {
    pub decisions: u64,
    /// Calls that trapped, took too long, needed too much memory or returned nonsense.
    pub failures: u64,
    /// Decisions that `on_failure` made in place of the policy, for whatever reason.
    pub fallbacks: u64,
    pub refusals: u64,
    /// Decisions by the shard that they picked.
    pub shards: BTreeMap<u32, u64>,
    /// By their processor time. A busy machine lets a shadow, which is idle in between, wait longer than a worker.
    pub(super) calls: Latency,
}

impl HookTally {
    pub(super) fn record<C: OwnedContext>(&mut self, decided: &Decided<C::Verdict>) {
        self.decisions += 1;
        self.failures += u64::from(decided.failure.is_some_and(is_of_the_policy));
        self.fallbacks += u64::from(decided.failure.is_some());
        if let Some(processor_time) = decided.processor_time.filter(|_| decided.took > Duration::ZERO) {
            self.calls.observe(processor_time);
        }
        let Ok(verdict) = &decided.verdict else { return };
        self.refusals += u64::from(C::rejection(verdict).is_some());
        if let Some(shard_no) = C::shard_no(verdict) {
            *self.shards.entry(shard_no).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.failures += other.failures;
        self.fallbacks += other.fallbacks;
        self.refusals += other.refusals;
        self.calls.add(&other.calls);
        for (shard_no, picks) in &other.shards {
            *self.shards.entry(*shard_no).or_default() += picks;
        }
    }

    /// The processor time that 99 of 100 calls do not exceed.
    #[must_use]
    pub fn call_p99(&self) -> Option<Duration> {
        self.calls.quantile(0.99)
    }
}

/// Whether the policy itself caused a failure, not the gateway or its counters.
fn is_of_the_policy(reason: FailureReason) -> bool {
    matches!(reason, FailureReason::Trap | FailureReason::Deadline | FailureReason::Memory | FailureReason::Answer)
}

/// The candidate's decisions about requests that the active policy decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShadowTally {
    pub decided: HookTally,
    /// Decisions that were compared with the active policy's.
    pub compared: u64,
    /// Of these, the ones of which one let the request go on and the other did not, or which picked another shard.
    pub different: u64,
    /// Requests that the candidate was not asked about, because the queue was full.
    pub lost: u64,
}

impl ShadowTally {
    fn add(&mut self, other: &Self) {
        self.decided.add(&other.decided);
        self.compared += other.compared;
        self.different += other.different;
        self.lost += other.lost;
    }
}

/// Both arms side by side, and the shadow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tallies {
    pub active: PerHook<HookTally>,
    pub canary: PerHook<HookTally>,
    pub shadow: PerHook<ShadowTally>,
}

impl Tallies {
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        for (hook, tally) in other.active.iter() {
            self.active[hook].add(tally);
        }
        for (hook, tally) in other.canary.iter() {
            self.canary[hook].add(tally);
        }
        for (hook, tally) in other.shadow.iter() {
            self.shadow[hook].add(tally);
        }
        self
    }
}
