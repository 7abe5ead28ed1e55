//! `budget_fuel` of a hook: what a decision of its policy may cost.

use super::battery::{CALLS, MadeUp};
use super::compile::Compiled;
use super::error::LoadError;
use super::offline::MeteredPolicy;
use super::owned_context::OwnedContext;
use super::spec::HookSpec;
use super::wire::{Load, Shard, Usage};
use crate::counters::Hook;

/// As many as a log has partitions by default.
const SHARDS: u32 = 12;
/// 2023: fuel must not depend on when it is measured.
const ARRIVED_AT_MS: i64 = 1_700_000_000_000;

/// Refuses a policy that spends more on one of the made-up calls. `compiled` is for the engine that meters fuel.
pub(super) fn check(hook: Hook, spec: &HookSpec, compiled: Compiled) -> Result<(), LoadError> {
    let fuel = match hook {
        Hook::RateShaper => highest::<Load>(spec, compiled),
        Hook::UserLimit => highest::<Usage>(spec, compiled),
        Hook::ShardPicker => highest::<Vec<Shard>>(spec, compiled),
    }?;
    if fuel > spec.budget_fuel { Err(LoadError::OverBudget { fuel, budget: spec.budget_fuel }) } else { Ok(()) }
}

fn highest<C: OwnedContext>(spec: &HookSpec, compiled: Compiled) -> Result<u64, LoadError> {
    highest_of(&MeteredPolicy::<C>::start(compiled, &spec.config)?, SHARDS).map(|cost| cost.fuel)
}

/// What the most expensive of the made-up calls cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) fuel: u64,
    pub(super) memory_bytes: usize,
}

/// Each call has an instance of its own, as after a start.
pub(super) fn highest_of<C: OwnedContext>(policy: &MeteredPolicy<C>, shards: u32) -> Result<Cost, LoadError> {
    (0..CALLS).try_fold(Cost::default(), |highest, entropy| {
        let call =
            policy.instance()?.decide_made_up(&MadeUp::new(policy.measures(), shards, ARRIVED_AT_MS, entropy))?;
        Ok(Cost { fuel: highest.fuel.max(call.fuel), memory_bytes: highest.memory_bytes.max(call.memory_bytes) })
    })
}
