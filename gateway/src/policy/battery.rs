//! Made-up calls, which show whether a policy decides and what a decision costs.

use super::owned_context::OwnedContext;
use super::wire::{Facts, Request, WireMeasured};
use crate::counters::Measure;
use crate::coupon::UnixMs;

/// Calls with the same context. They differ in their entropy.
pub(super) const CALLS: u64 = 3;

/// The arguments of a hook's function.
#[derive(Debug)]
pub(super) struct MadeUp<C> {
    request: Request,
    measured: Vec<WireMeasured>,
    pub(super) context: C,
}

impl<C: OwnedContext> MadeUp<C> {
    /// The first request of a campaign with this number of shards, with one of [`CALLS`] values of its entropy.
    pub(super) fn new(measures: &[Measure], shards: u32, arrived_at_ms: UnixMs, entropy: u64) -> Self {
        let arrived_at_ms = arrived_at_ms.unsigned_abs();
        Self {
            request: Request { coupon_id: 0, policy_id: 0, user_id: 0, arrived_at_ms, entropy },
            measured: measures.iter().map(WireMeasured::first).collect(),
            context: C::made_up(shards),
        }
    }

    pub(super) fn facts(&self) -> Facts<'_, C::Lent> {
        (&self.request, &self.measured, self.context.lend())
    }
}
