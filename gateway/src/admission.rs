//! The first half of a request's path: decides whether a request is accepted and which shard serves it, then appends it
//! to the log.
//!
//! [`Admission::admit`] reads as the story. From the first reservation in the counters to the answer of the log, a request
//! runs in a task that the client cannot cancel. Otherwise the reservation of a client that posts and
//! hangs up would be released, although its record becomes durable.

mod earlier;
mod load;
mod recent;
mod refusal;
mod reservation;
mod submission;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use self::reservation::Reservation;
use self::submission::Candidate;
use crate::background::Detached;
use crate::campaign_cache::{CachedCampaign, CachedShard, CampaignCache, UnsettledGuard};
use crate::counters::{Counters, Hook};
use crate::coupon::{Accepted, Entry, GenerationNo, GroupNo, IssueRequest, PartitionNo, RequestId, ShardNo, UnixMs};
use crate::decisions::{Recorder, Trace};
use crate::ledger::{LedgerError, RecordedOutcome};
use crate::log::{AppendError, Headers, Log, Record};
use crate::policy::{self, Generation, Pipelines, Rejection, Shaping};

pub use earlier::EarlierRequests;
pub use load::{LoadGauge, SAMPLE_EVERY, Sampler};
pub use recent::LogPosition;
pub use refusal::Refusal;
pub use submission::{Receipt, Submission};

/// Caps a delay by the rate shaper. A longer delay would outlast the timeout of many clients.
pub const DELAY_MAX: Duration = Duration::from_secs(2);

/// Made for each request: every accepted request changes what is unsettled. Those of most campaigns fit on the stack.
type Shards = SmallVec<[policy::Shard; 16]>;

/// What admission works with.
pub struct Dependencies {
    pub campaigns: Arc<CampaignCache>,
    pub counters: Arc<dyn Counters>,
    pub log: Arc<dyn Log>,
    pub earlier: EarlierRequests,
    pub pipelines: Arc<Pipelines>,
    pub load: Arc<LoadGauge>,
    pub decisions: Recorder,
}

/// Decides about requests, and appends the accepted ones to the log.
pub struct Admission {
    campaigns: Arc<CampaignCache>,
    counters: Arc<dyn Counters>,
    log: Arc<dyn Log>,
    earlier: EarlierRequests,
    pipelines: Arc<Pipelines>,
    load: Arc<LoadGauge>,
    decisions: Recorder,
    detached: Detached,
    in_flight_max: usize,
    in_flight: Arc<AtomicUsize>,
}

impl Admission {
    /// Up to `in_flight_max` requests are decided at the same time. One more is refused as overloaded.
    #[must_use]
    pub fn new(dependencies: Dependencies, in_flight_max: usize) -> Self {
        let Dependencies { campaigns, counters, log, earlier, pipelines, load, decisions } = dependencies;
        Self {
            campaigns,
            counters,
            log,
            earlier,
            pipelines,
            load,
            decisions,
            detached: Detached::default(),
            in_flight_max,
            in_flight: Arc::default(),
        }
    }

    /// The number of requests that are being decided now, disconnected clients included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Runs the requests that are being decided, and whatever else a disconnecting client must not cancel. `app` waits for
    /// all of it at shutdown.
    #[must_use]
    pub fn detached(&self) -> &Detached {
        &self.detached
    }

    /// The log position of a request that this process accepted recently.
    #[must_use]
    pub fn recent_position(&self, request: RequestId) -> Option<LogPosition> {
        self.earlier.recent_position(request)
    }

    /// The outcome of a request, if it is settled. Without its partition, all ledger groups are asked.
    ///
    /// # Errors
    /// When a group cannot be read within a second, and for a second after that.
    pub async fn outcome(
        &self,
        request: RequestId,
        partition: Option<PartitionNo>,
    ) -> Result<Option<RecordedOutcome>, LedgerError> {
        self.earlier.outcome(request, partition).await
    }

    /// Decides about one request and appends it to the log. A receipt means that the request is durable.
    ///
    /// Answers with the number of the policy generation that decided.
    ///
    /// # Errors
    /// [`Refusal`], after the reservation for the request was released, unless its record may be in the log.
    pub async fn admit(self: &Arc<Self>, submission: Submission) -> (GenerationNo, Result<Receipt, Refusal>) {
        let generation = self.pipelines.current();
        let answer = self.decide(&generation, submission).await;
        (generation.number(), answer)
    }

    async fn decide(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        submission: Submission,
    ) -> Result<Receipt, Refusal> {
        self.load.count_arrival();
        let in_flight = self.begin()?;
        let campaign = self.find_campaign(&submission.request)?;
        let (candidate, group) = (Candidate::new(submission), campaign.campaign.group);
        // If the ledger cannot tell, the request is accepted all the same: a retry has the id of the first attempt, and
        // settlement drops one of the two records. Only the state of the campaign must not refuse it, since the first
        // attempt may have been accepted before the state changed.
        let unknown = match self.earlier.find(&candidate, group).await {
            Ok(Some(receipt)) => return Ok(receipt),
            Ok(None) => None,
            Err(unknown @ Refusal::LedgerUnavailable(_)) => Some(unknown),
            Err(refusal) => return Err(refusal),
        };
        let campaign = match self.expect_open(Arc::clone(&campaign), &candidate.submission).await {
            Ok(campaign) => campaign,
            Err(refusal) if !self.earlier.holds_key(&candidate).await? => return Err(unknown.unwrap_or(refusal)),
            // Nothing is appended for a campaign that is over: its outcomes may be deleted, and would not tell a replay.
            Err(Refusal::Closed) => {
                return self.earlier.await_outcome(candidate.request_id, group).await?.ok_or(Refusal::Closed);
            }
            // Appended again, settlement drops one of the two records.
            Err(_) => campaign,
        };
        let accepting = Arc::clone(self).accept(Arc::clone(generation), candidate, campaign, in_flight);
        self.detached.run(accepting).await
    }

    /// Runs to its end, also if the client disconnects.
    async fn accept(
        self: Arc<Self>,
        generation: Arc<Generation>,
        candidate: Candidate,
        campaign: Arc<CachedCampaign>,
        _in_flight: InFlightGuard,
    ) -> Result<Receipt, Refusal> {
        let mut reservation = Reservation::new(&*self.counters, &generation, candidate.subject(&generation));
        let answer = self.judge_and_append(&generation, candidate, &campaign, &mut reservation).await;
        match &answer {
            // The record may be durable. Released, the user could exceed the limit of a window, which nothing corrects.
            // If the record is durable and its request rejected, settlement forgets it.
            Ok(_) | Err(Refusal::LogUnavailable(AppendError::Failed(_))) => {}
            Err(_) => reservation.release().await,
        }
        answer
    }

    async fn judge_and_append(
        &self,
        generation: &Generation,
        candidate: Candidate,
        campaign: &CachedCampaign,
        reservation: &mut Reservation<'_>,
    ) -> Result<Receipt, Refusal> {
        let facts = candidate.facts();
        let mut trace = self.decisions.trace(candidate.request_id);
        let judged = self.judge(generation, &facts, campaign, reservation, &mut trace).await;
        self.decisions.record(candidate.request_id, generation.number(), &facts, trace);
        let shard_no = judged?;
        let (accepted, traceparent) = candidate.accept(shard_no, generation);
        self.append(&accepted, traceparent, campaign).await
    }

    /// Asks the three policies. The last one picks the shard.
    async fn judge(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        campaign: &CachedCampaign,
        reservation: &mut Reservation<'_>,
        trace: &mut Trace,
    ) -> Result<ShardNo, Refusal> {
        self.shape(generation, facts, campaign.campaign.group, reservation, trace).await?;
        self.limit(generation, facts, campaign, reservation, trace).await?;
        self.pick(generation, facts, campaign, reservation, trace).await
    }

    /// Counts the request as in flight, until the guard is dropped.
    fn begin(&self) -> Result<InFlightGuard, Refusal> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let guard = InFlightGuard(Arc::clone(&self.in_flight));
        if before < self.in_flight_max { Ok(guard) } else { Err(Refusal::Overloaded) }
    }

    fn find_campaign(&self, request: &IssueRequest) -> Result<Arc<CachedCampaign>, Refusal> {
        let cached = self.campaigns.get(request.coupon_id).ok_or_else(|| self.explain_unknown())?;
        cached.note_request();
        let expected = cached.campaign.policy_id;
        if expected == request.policy_id { Ok(cached) } else { Err(Refusal::OtherPolicy { expected }) }
    }

    /// A coupon without a campaign, or one of a ledger group that could not be read yet.
    fn explain_unknown(&self) -> Refusal {
        if self.campaigns.is_complete() {
            return Refusal::CouponNotFound;
        }
        let source = "a ledger group has not been reached since the start".into();
        Refusal::LedgerUnavailable(LedgerError::Transient { step: "find the campaign", source })
    }

    /// Checks that the campaign accepts requests now. A cached stock of zero is confirmed by the ledger, since another
    /// process may have added stock; the campaign is then read again.
    async fn expect_open(
        &self,
        campaign: Arc<CachedCampaign>,
        submission: &Submission,
    ) -> Result<Arc<CachedCampaign>, Refusal> {
        match check_open(&campaign, submission.arrived_at_ms) {
            Ok(()) => Ok(campaign),
            Err(Refusal::SoldOut) => {
                let coupon_id = submission.request.coupon_id;
                if self.campaigns.is_sold_out(coupon_id).await.map_err(Refusal::LedgerUnavailable)? {
                    return Err(Refusal::SoldOut);
                }
                self.find_campaign(&submission.request)
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn shape(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        group: GroupNo,
        reservation: &mut Reservation<'_>,
        trace: &mut Trace,
    ) -> Result<(), Refusal> {
        let measured = reservation.reserve(Hook::RateShaper).await?;
        let load = self.load.read(self.in_flight(), group);
        let decided = generation.shape(facts, measured.as_deref(), &load);
        trace.add(generation.policy(Hook::RateShaper), measured.ok(), || load, &decided);
        match decided.verdict.map_err(Refusal::PolicyUnavailable)? {
            Shaping::Pass => Ok(()),
            Shaping::Delay(ms) => {
                tokio::time::sleep(Duration::from_millis(ms.into()).min(DELAY_MAX)).await;
                Ok(())
            }
            Shaping::Shed(rejection) => Err(rejected(generation, Hook::RateShaper, rejection)),
        }
    }

    async fn limit(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        campaign: &CachedCampaign,
        reservation: &mut Reservation<'_>,
        trace: &mut Trace,
    ) -> Result<(), Refusal> {
        let measured = reservation.reserve(Hook::UserLimit).await?;
        let usage = policy::Usage {
            per_user_limit: campaign.campaign.per_user_limit,
            total: campaign.campaign.total,
            remaining: campaign.remaining(),
        };
        let decided = generation.admit(facts, measured.as_deref(), &usage);
        trace.add(generation.policy(Hook::UserLimit), measured.ok(), || usage, &decided);
        match decided.verdict.map_err(Refusal::PolicyUnavailable)? {
            policy::LimitVerdict::Admit => Ok(()),
            policy::LimitVerdict::Refuse(rejection) => Err(rejected(generation, Hook::UserLimit, rejection)),
        }
    }

    async fn pick(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        campaign: &CachedCampaign,
        reservation: &mut Reservation<'_>,
        trace: &mut Trace,
    ) -> Result<ShardNo, Refusal> {
        let measured = reservation.reserve(Hook::ShardPicker).await?;
        let shards = self.offered_shards(campaign)?;
        let decided = generation.pick(facts, measured.as_deref(), &shards);
        trace.add(generation.policy(Hook::ShardPicker), measured.ok(), || shards.to_vec(), &decided);
        decided.verdict.map(ShardNo).map_err(Refusal::PolicyUnavailable)
    }

    /// The shards whose partition accepts records; never none.
    fn offered_shards(&self, campaign: &CachedCampaign) -> Result<Shards, Refusal> {
        let mut offered = Shards::new();
        let mut problem = None;
        for shard in &campaign.shards {
            let partition = self.campaigns.partition_of(&campaign.campaign, shard.shard_no);
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

    async fn append(
        &self,
        accepted: &Accepted,
        traceparent: Option<String>,
        campaign: &CachedCampaign,
    ) -> Result<Receipt, Refusal> {
        let coupon_id = accepted.request.coupon_id;
        let partition = self.campaigns.partition_of(&campaign.campaign, accepted.shard_no);
        let record = Record {
            key: format!("{coupon_id}:{}", accepted.shard_no),
            headers: Headers { request_id: Some(accepted.request_id), traceparent, generation: accepted.generation },
            value: accepted.encode(),
        };
        // Counted before the append: settlement may subtract the record before the append returns. Dropped on any
        // error: too low a count corrects itself once the shard is settled, too high a one never.
        let unsettled = campaign.shard(accepted.shard_no).map(CachedShard::add_unsettled);
        let ack = self.log.append(partition, record).map_err(Refusal::LogUnavailable)?;
        let offset = ack.await.map_err(Refusal::LogUnavailable)?;
        unsettled.into_iter().for_each(UnsettledGuard::keep);
        self.earlier.remember(accepted.request_id, LogPosition { partition, offset });
        Ok(Receipt { request_id: accepted.request_id, partition, offset, outcome: None })
    }
}

/// Whether the campaign accepts requests now, by what is cached.
fn check_open(campaign: &CachedCampaign, now: UnixMs) -> Result<(), Refusal> {
    match campaign.campaign.entry_at(now) {
        Entry::NotOpen(opens_at_ms) => Err(Refusal::NotOpen { opens_at_ms }),
        Entry::Paused => Err(Refusal::Paused),
        Entry::Closed => Err(Refusal::Closed),
        Entry::Open if campaign.remaining() == 0 => Err(Refusal::SoldOut),
        Entry::Open => Ok(()),
    }
}

fn rejected(generation: &Generation, hook: Hook, rejection: Rejection) -> Refusal {
    Refusal::Policy { hook, rejection, quota: generation.quota(hook) }
}

/// Counts one request as in flight until it is dropped.
struct InFlightGuard(Arc<AtomicUsize>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
