//! Trial requests: a policy must decide one of them before it decides about real ones.

use super::decider::Decider;
use super::error::LoadError;
use super::failure::Failure;
use super::failure_report::print;
use super::instance::{Context, Verdict};
use super::wire::{LimitVerdict, Load, Request, Shaping, Shard, Usage, WireMeasured, shard_exists};
use crate::coupon::now_ms;

/// A policy that gives no valid verdict in this many calls is broken, not unlucky.
const CALLS: u32 = 3;
const SHARDS: u32 = 4;
const STOCK_PER_SHARD: u64 = 100;

impl Decider<Load, Shaping> {
    pub(super) fn run_trial(&self) -> Result<Shaping, LoadError> {
        self.try_with(&Load::default(), Shaping::is_valid)
    }
}

impl Decider<Usage, LimitVerdict> {
    pub(super) fn run_trial(&self) -> Result<LimitVerdict, LoadError> {
        let total = u64::from(SHARDS) * STOCK_PER_SHARD;
        self.try_with(&Usage { per_user_limit: 1, total, remaining: total }, LimitVerdict::is_valid)
    }
}

impl Decider<[Shard], u32> {
    pub(super) fn run_trial(&self) -> Result<u32, LoadError> {
        let shard = |shard_no| Shard { shard_no, remaining: STOCK_PER_SHARD, unsettled: 0, lag_records: 0 };
        let shards: Vec<_> = (0..SHARDS).map(shard).collect();
        self.try_with(&shards, |picked| shard_exists(&shards, *picked))
    }
}

impl<C: Context + ?Sized, V: Verdict> Decider<C, V> {
    /// Returns the first valid verdict. One is enough: a policy may fail now and then.
    fn try_with(&self, context: &C, is_valid: impl Fn(&V) -> bool) -> Result<V, LoadError> {
        let measured: Vec<_> = self.measures().iter().map(WireMeasured::first).collect();
        let arrived_at_ms = now_ms().unsigned_abs();
        let request = |entropy| Request { coupon_id: 0, policy_id: 0, user_id: 0, arrived_at_ms, entropy };
        let attempt = |entropy| {
            let verdict = self.call_once((&request(entropy), &measured, context))?;
            if is_valid(&verdict) { Ok(verdict) } else { Err(Failure::of_verdict(&verdict)) }
        };
        let mut last = None;
        for entropy in 0..u64::from(CALLS) {
            match attempt(entropy) {
                Ok(verdict) => return Ok(verdict),
                Err(failure) => last = Some((failure, entropy)),
            }
        }
        let (Failure { reason, detail }, entropy) = last.expect("there is at least one trial call");
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let called_with = print(&(request(entropy), &measured, context));
        Err(LoadError::Trial(format!(
            "{} in each of {CALLS} calls{detail}; called with {called_with}",
            reason.as_str()
        )))
    }
}
