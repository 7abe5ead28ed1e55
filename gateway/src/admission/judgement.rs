//! Asks the three policies about one request: the rate shaper, the user limit, and the shard picker.

use std::time::Duration;

use smallvec::SmallVec;

use super::load::LoadGauge;
use super::refusal::Refusal;
use super::reservation::Reservation;
use crate::campaign_cache::{CachedCampaign, CampaignCache};
use crate::counters::{Hook, Measured, PerMeasure};
use crate::coupon::ShardNo;
use crate::decisions::{Trace, Traced};
use crate::log::{AppendError, Log};
use crate::policy::{self, Decided, Rejection, Shaping};
use crate::rollout::{Chosen, Question, Shadowed};

/// Caps a delay by the rate shaper. A longer delay would outlast the timeout of many clients.
pub const DELAY_MAX: Duration = Duration::from_secs(2);

/// Made for each request: every accepted request changes what is unsettled. Those of most campaigns fit on the stack.
type Shards = SmallVec<[policy::Shard; 16]>;

/// What the policies are asked with.
pub(super) struct Judgement<'a, 'r> {
    pub(super) campaigns: &'a CampaignCache,
    pub(super) log: &'a dyn Log,
    pub(super) load: &'a LoadGauge,
    /// Requests that are being decided.
    pub(super) in_flight: usize,
    pub(super) chosen: &'a Chosen,
    pub(super) facts: policy::Request,
    pub(super) campaign: &'a CachedCampaign,
    pub(super) reservation: &'a mut Reservation<'r>,
    /// Receives what each policy was given and what it decided.
    pub(super) trace: Trace,
}

impl Judgement<'_, '_> {
    /// Answers with the shard that the last policy picked.
    pub(super) async fn judge(&mut self) -> Result<ShardNo, Refusal> {
        self.shape().await?;
        self.limit().await?;
        self.pick().await
    }

    async fn shape(&mut self) -> Result<(), Refusal> {
        let measured = self.reservation.reserve(Hook::RateShaper).await?;
        let load = self.load.read(self.in_flight, self.campaign.campaign.group);
        let decided = self.chosen.call(Hook::RateShaper, |by| by.shape(&self.facts, measured.as_deref(), &load));
        self.record(measured.ok(), || load, &decided);
        match decided.verdict.map_err(Refusal::PolicyUnavailable)? {
            Shaping::Pass => Ok(()),
            Shaping::Delay(ms) => {
                tokio::time::sleep(Duration::from_millis(ms.into()).min(DELAY_MAX)).await;
                Ok(())
            }
            Shaping::Shed(rejection) => Err(self.rejected(Hook::RateShaper, rejection)),
        }
    }

    async fn limit(&mut self) -> Result<(), Refusal> {
        let measured = self.reservation.reserve(Hook::UserLimit).await?;
        let usage = policy::Usage {
            per_user_limit: self.campaign.campaign.per_user_limit,
            total: self.campaign.campaign.total,
            remaining: self.campaign.remaining(),
        };
        let decided = self.chosen.call(Hook::UserLimit, |by| by.admit(&self.facts, measured.as_deref(), &usage));
        self.record(measured.ok(), || usage, &decided);
        match decided.verdict.map_err(Refusal::PolicyUnavailable)? {
            policy::LimitVerdict::Admit => Ok(()),
            policy::LimitVerdict::Refuse(rejection) => Err(self.rejected(Hook::UserLimit, rejection)),
        }
    }

    async fn pick(&mut self) -> Result<ShardNo, Refusal> {
        let measured = self.reservation.reserve(Hook::ShardPicker).await?;
        let shards = self.offered_shards()?;
        let decided = self.chosen.call(Hook::ShardPicker, |by| by.pick(&self.facts, measured.as_deref(), &shards));
        self.record(measured.ok(), || shards.to_vec(), &decided);
        decided.verdict.map(ShardNo).map_err(Refusal::PolicyUnavailable)
    }

    /// The shards whose partition accepts records; never none.
    fn offered_shards(&self) -> Result<Shards, Refusal> {
        let mut offered = Shards::new();
        let mut problem = None;
        for shard in &self.campaign.shards {
            let partition = self.campaigns.partition_of(&self.campaign.campaign, shard.shard_no);
            match self.log.accepts(partition) {
                Ok(()) => offered.push(policy::Shard {
                    shard_no: shard.shard_no.0,
                    remaining: shard.remaining(),
                    unsettled: shard.unsettled(),
                    lag_records: self.load.lag_records(partition),
                }),
                Err(reason) => problem = Some(reason),
            }
        }
        match problem {
            Some(reason) if offered.is_empty() => Err(Refusal::LogUnavailable(AppendError::NoPartition(reason))),
            _ => Ok(offered),
        }
    }

    fn rejected(&self, hook: Hook, rejection: Rejection) -> Refusal {
        Refusal::Policy { hook, rejection, quota: self.chosen.generation.quota(hook) }
    }

    /// Tells the rollout and the trace what a hook was given and what it decided.
    fn record<C: Traced + Shadowed>(
        &mut self,
        measured: Option<PerMeasure<Measured>>,
        context: impl Fn() -> C,
        decided: &Decided<C::Verdict>,
    ) {
        let subject = self.reservation.subject();
        self.chosen.observe(
            &Question { subject, request: &self.facts, measured: measured.as_ref() },
            &context,
            decided,
        );
        self.trace.add(self.chosen.generation.policy(C::HOOK), measured, context, decided);
    }
}
