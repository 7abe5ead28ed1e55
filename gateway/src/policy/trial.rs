//! Trial requests: a policy must decide one of them before it decides about real ones.

use super::battery::{CALLS, MadeUp};
use super::decider::Decider;
use super::error::LoadError;
use super::failure::Failure;
use super::failure_report::print;
use super::instance::{Context, Verdict};
use super::owned_context::OwnedContext;
use crate::coupon::now_ms;

const SHARDS: u32 = 4;

impl<L: Context + ?Sized, V: Verdict> Decider<L, V> {
    /// Returns the first valid verdict. One is enough: a policy may fail now and then, and one that gives none in all
    /// calls is broken, not unlucky.
    pub(super) fn run_trial<C: OwnedContext<Lent = L, Verdict = V>>(&self) -> Result<V, LoadError> {
        let arrived_at_ms = now_ms();
        let mut last = None;
        for entropy in 0..CALLS {
            let call = MadeUp::<C>::new(self.measures(), SHARDS, arrived_at_ms, entropy);
            let failure = match self.call_once(call.facts()) {
                Ok(verdict) if call.context.is_valid(&verdict) => return Ok(verdict),
                Ok(verdict) => Failure::of_verdict(&verdict),
                Err(failure) => failure,
            };
            last = Some((failure, call));
        }
        let (Failure { reason, detail }, call) = last.expect("there is at least one trial call");
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let called_with = print(&call.facts());
        Err(LoadError::Trial(format!(
            "{} in each of {CALLS} calls{detail}; called with {called_with}",
            reason.as_str()
        )))
    }
}
