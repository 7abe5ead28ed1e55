//! Admission of a simulation: asks the policies, as a gateway does.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::FutureExt;

use super::gateway::Gateway;
use super::scenario::Arrival;
use super::virtual_time::virtual_ms;
use crate::admission::DELAY_MAX;
use crate::counters::local::Repeatable;
use crate::counters::{Added, Counters, Hook, Measured, PerHook, PerMeasure, Subject};
use crate::coupon::{CampaignCounts, NewCampaign, ShardNo};
use crate::policy::{self, LimitVerdict, OfflinePipeline, PolicyUnavailable, Shaping};

pub(super) struct Admission<'a> {
    policies: &'a mut OfflinePipeline,
    counters: Repeatable,
    campaigns: &'a [NewCampaign],
    campaign_counts: CampaignCounts,
}

/// A request on its way through admission.
pub(super) struct Candidate {
    pub(super) arrival: Arrival,
    pub(super) gateway: usize,
    /// What the counters added for it.
    added: PerHook<u32>,
}

impl Candidate {
    pub(super) fn new(arrival: Arrival, gateway: usize) -> Self {
        Self { arrival, gateway, added: PerHook::default() }
    }
}

/// The reason of a refusal.
pub(super) type Code = Cow<'static, str>;

impl<'a> Admission<'a> {
    pub(super) fn new(policies: &'a mut OfflinePipeline, campaigns: &'a [NewCampaign]) -> Self {
        let campaign_counts = CampaignCounts::among(PerHook::from_fn(|hook| policies.measures(hook)));
        Self { policies, counters: Repeatable::default(), campaigns, campaign_counts }
    }

    /// Checks the stock and asks the rate shaper. Returns how long the request waits.
    pub(super) fn shape(&mut self, candidate: &mut Candidate, gateway: &Gateway) -> Result<Duration, Code> {
        if gateway.remaining(candidate.arrival.campaign) == 0 {
            return Err("SOLD_OUT".into());
        }
        let measured = self.measure(Hook::RateShaper, candidate);
        let facts = self.facts(&candidate.arrival);
        match self.policies.shape(&facts, &measured, &gateway.load()).map_err(unavailable)? {
            Shaping::Pass => Ok(Duration::ZERO),
            Shaping::Delay(ms) => Ok(Duration::from_millis(ms.into()).min(DELAY_MAX)),
            Shaping::Shed(rejection) => Err(rejection.code.into()),
        }
    }

    /// Asks the user limit and the shard picker.
    pub(super) fn place(&mut self, candidate: &mut Candidate, gateway: &Gateway) -> Result<ShardNo, Code> {
        let measured = self.measure(Hook::UserLimit, candidate);
        let facts = self.facts(&candidate.arrival);
        let campaign = &self.campaigns[candidate.arrival.campaign];
        let usage = policy::Usage {
            per_user_limit: campaign.per_user_limit,
            total: campaign.total,
            remaining: gateway.remaining(candidate.arrival.campaign),
        };
        if let LimitVerdict::Refuse(rejection) = self.policies.admit(&facts, &measured, &usage).map_err(unavailable)? {
            return Err(rejection.code.into());
        }
        let measured = self.measure(Hook::ShardPicker, candidate);
        let shards = gateway.offered_shards(candidate.arrival.campaign);
        self.policies.pick(&facts, &measured, &shards).map_err(unavailable)
    }

    /// Undoes what was counted for a request that is refused.
    pub(super) fn release(&self, candidate: &Candidate) {
        let added =
            Hook::ALL.map(|hook| Added { hook, measures: self.policies.measures(hook), bits: candidate.added[hook] });
        let subject = self.subject(&candidate.arrival);
        self.counters.release(&subject, &added).now_or_never().expect(IN_MEMORY).expect(IN_MEMORY);
    }

    /// Settlement rejected the request.
    pub(super) fn forget(&self, arrival: &Arrival) {
        self.counters.forget(&[self.subject(arrival)]).now_or_never().expect(IN_MEMORY).expect(IN_MEMORY);
    }

    /// Calls of policies without a valid decision.
    pub(super) fn policy_failures(&self) -> u64 {
        self.policies.cost().iter().map(|(_, cost)| cost.failures).sum()
    }

    fn measure(&self, hook: Hook, candidate: &mut Candidate) -> PerMeasure<Measured> {
        let measures = self.policies.measures(hook);
        if measures.is_empty() {
            return PerMeasure::new();
        }
        let subject = self.subject(&candidate.arrival);
        let reserved = self.counters.reserve(hook, measures, &subject);
        let reserved = reserved.now_or_never().expect(IN_MEMORY).expect(IN_MEMORY);
        candidate.added[hook] = reserved.added;
        reserved.measured
    }

    fn facts(&self, arrival: &Arrival) -> policy::Request {
        let campaign = &self.campaigns[arrival.campaign];
        policy::Request {
            coupon_id: campaign.coupon_id.get(),
            policy_id: campaign.policy_id.get(),
            user_id: arrival.user.get(),
            arrived_at_ms: virtual_ms(arrival.at).unsigned_abs(),
            entropy: arrival.request_id.entropy(),
        }
    }

    fn subject(&self, arrival: &Arrival) -> Subject {
        Subject {
            request_id: arrival.request_id,
            attempt: 0,
            coupon_id: self.campaigns[arrival.campaign].coupon_id,
            user_id: arrival.user,
            arrived_at_ms: virtual_ms(arrival.at),
            fingerprint: None,
            campaign_counts: self.campaign_counts,
        }
    }
}

const IN_MEMORY: &str = "counters in memory answer at once";

fn unavailable(_: PolicyUnavailable) -> Code {
    "POLICY_UNAVAILABLE".into()
}
