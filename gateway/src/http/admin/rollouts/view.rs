//! What an operator is shown.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::counters::{Hook, PerHook};
use crate::coupon::{CouponId, UnixMs};
use crate::policy::{Digest, HookSpec, OwnHooks, PinnedHook};
use crate::rollout::{
    Auto, Event, Guards, HookTally, MeasuredRollout, Percent, Reading, Rollout, RolloutId, ShadowTally, Status, Tallies,
};

/// A rollout in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct RolloutLine {
    #[schema(value_type = u64)]
    id: RolloutId,
    /// The coupon whose pipeline changes. Without it, the default pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon_id: Option<CouponId>,
    status: Status,
    /// The hooks that change.
    hooks: BTreeMap<Hook, ChangedHook>,
    /// The share of the users that the candidate serves.
    canary_percent: Percent,
    /// Whether the candidate is also asked about requests that the active policies decide.
    shadow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto: Option<Auto>,
    guards: Guards,
    started_by: String,
    #[schema(value_type = i64)]
    started_at_ms: UnixMs,
    /// How often the share has changed.
    step_no: u32,
    #[schema(value_type = i64)]
    step_since_ms: UnixMs,
}

/// A rollout with its history.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RolloutBody {
    #[serde(flatten)]
    pub(super) line: RolloutLine,
    /// Oldest first.
    history: Vec<Event>,
}

/// A rollout, and what all gateways have measured since its last step.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct MeasuredRolloutBody {
    #[serde(flatten)]
    rollout: RolloutBody,
    tallies: TalliesBody,
    /// What the guards find.
    guards_found: Vec<Reading>,
}

#[derive(Serialize, ToSchema)]
struct ChangedHook {
    candidate: PinnedPolicy,
    replaced: PinnedPolicy,
}

/// A version of a policy, and how it is run.
#[derive(Serialize, ToSchema)]
struct PinnedPolicy {
    digest: Digest,
    #[serde(flatten)]
    spec: HookSpec,
}

impl From<PinnedHook> for PinnedPolicy {
    fn from(PinnedHook { digest, spec }: PinnedHook) -> Self {
        Self { digest, spec }
    }
}

/// By arm, then by hook.
#[derive(Serialize, ToSchema)]
struct TalliesBody {
    /// The active policies, for the users whom they serve.
    active: BTreeMap<Hook, ArmBody>,
    /// The candidate, for the users whom it serves.
    canary: BTreeMap<Hook, ArmBody>,
    /// The candidate, for requests that the active policies decided.
    shadow: BTreeMap<Hook, ShadowBody>,
}

/// What an arm has decided. A share is of its decisions, from 0 to 1.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ArmBody {
    decisions: u64,
    /// Calls that trapped, took too long, needed too much memory or returned nonsense.
    failures: u64,
    failure_share: f64,
    /// Decisions that `on_failure` made.
    fallbacks: u64,
    fallback_share: f64,
    refusals: u64,
    refusal_share: f64,
    /// The processor time that 99 of 100 calls do not exceed, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_p99_us: Option<f64>,
    /// Of a shard picker.
    shards: Vec<PickedShard>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PickedShard {
    shard_no: u32,
    picked: u64,
    share: f64,
}

/// What a shadow has decided.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ShadowBody {
    #[serde(flatten)]
    arm: ArmBody,
    /// Decisions that were compared with those of the active policy.
    compared: u64,
    /// Of these, the ones of which one lets the request go on and the other does not, or delays it by over 100 ms more, or
    /// which pick another shard.
    different: u64,
    different_share: f64,
    /// Requests about which the candidate was not asked, because the queue was full or the counters were unavailable.
    lost: u64,
}

impl From<Rollout> for RolloutBody {
    fn from(rollout: Rollout) -> Self {
        let line = RolloutLine {
            id: rollout.id,
            coupon_id: rollout.scope.coupon(),
            status: rollout.status,
            hooks: changed_hooks(rollout.candidate, rollout.replaced),
            canary_percent: rollout.canary_percent,
            shadow: rollout.shadow,
            auto: rollout.auto,
            guards: rollout.guards,
            started_by: rollout.started_by,
            started_at_ms: rollout.started_at_ms,
            step_no: rollout.step_no,
            step_since_ms: rollout.step_since_ms,
        };
        Self { line, history: rollout.history }
    }
}

fn changed_hooks(candidate: OwnHooks, replaced: OwnHooks) -> BTreeMap<Hook, ChangedHook> {
    let pairs = <[_; 3]>::from(candidate).into_iter().zip(<[_; 3]>::from(replaced));
    let changed = |(hook, (candidate, replaced)): (Hook, (Option<PinnedHook>, Option<PinnedHook>))| {
        Some((hook, ChangedHook { candidate: candidate?.into(), replaced: replaced?.into() }))
    };
    Hook::ALL.into_iter().zip(pairs).filter_map(changed).collect()
}

impl From<MeasuredRollout> for MeasuredRolloutBody {
    fn from(MeasuredRollout { rollout, tallies, guards_found }: MeasuredRollout) -> Self {
        let Tallies { active, canary, shadow } = tallies;
        let changed = rollout.changed();
        let tallies = TalliesBody {
            active: of_changed(&changed, &active),
            canary: of_changed(&changed, &canary),
            shadow: of_changed(&changed, &shadow),
        };
        Self { rollout: rollout.into(), tallies, guards_found }
    }
}

fn of_changed<'a, T, B: From<&'a T>>(changed: &PerHook<bool>, tallies: &'a PerHook<T>) -> BTreeMap<Hook, B> {
    tallies.iter().filter(|(hook, _)| changed[*hook]).map(|(hook, tally)| (hook, B::from(tally))).collect()
}

impl From<&HookTally> for ArmBody {
    fn from(tally: &HookTally) -> Self {
        let HookTally { decisions, failures, fallbacks, refusals, .. } = *tally;
        let picked = tally.shards.values().sum();
        let shard = |(shard_no, picks): (&u32, &u64)| PickedShard {
            shard_no: *shard_no,
            picked: *picks,
            share: share(*picks, picked),
        };
        Self {
            decisions,
            failures,
            failure_share: share(failures, decisions),
            fallbacks,
            fallback_share: share(fallbacks, decisions),
            refusals,
            refusal_share: share(refusals, decisions),
            call_p99_us: tally.call_p99().map(|duration| duration.as_secs_f64() * 1e6),
            shards: tally.shards.iter().map(shard).collect(),
        }
    }
}

impl From<&ShadowTally> for ShadowBody {
    fn from(tally: &ShadowTally) -> Self {
        let ShadowTally { ref decided, compared, different, lost } = *tally;
        Self { arm: decided.into(), compared, different, different_share: share(different, compared), lost }
    }
}

fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}
