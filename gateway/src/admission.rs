//! The first half of a request's path: decides whether a request is accepted and which shard serves it, then appends it
//! to the log.
//!
//! [`Admission::admit`] reads as the story. From the first reservation in the counters to the answer of the log, a request
//! runs in a task that the client cannot cancel. Otherwise the reservation of a client that posts and
//! hangs up would be released, although its record becomes durable.

mod earlier;
mod judgement;
mod load;
mod recent;
mod refusal;
mod reservation;
mod submission;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::earlier::KeyState;
use self::judgement::Judgement;
use self::reservation::Reservation;
use self::submission::Candidate;
use crate::background::Detached;
use crate::campaign_cache::{CachedCampaign, CachedShard, CampaignCache, UnsettledGuard};
use crate::counters::Counters;
use crate::coupon::{Accepted, DecidedBy, Entry, IssueRequest, PartitionNo, RequestId, UnixMs};
use crate::decisions::Recorder;
use crate::ledger::{LedgerError, RecordedOutcome};
use crate::log::{AppendError, Headers, Log, Record};
use crate::rollout::{Chosen, Rollouts};

pub use earlier::EarlierRequests;
pub use judgement::DELAY_MAX;
pub use load::{LoadGauge, SAMPLE_EVERY, Sampler};
pub use recent::LogPosition;
pub use refusal::Refusal;
pub use submission::{Receipt, Submission};

/// What admission works with.
pub struct Dependencies {
    pub campaigns: Arc<CampaignCache>,
    pub counters: Arc<dyn Counters>,
    pub log: Arc<dyn Log>,
    pub earlier: EarlierRequests,
    pub rollouts: Arc<Rollouts>,
    pub load: Arc<LoadGauge>,
    pub decisions: Recorder,
}

/// Decides about requests, and appends the accepted ones to the log.
pub struct Admission {
    campaigns: Arc<CampaignCache>,
    counters: Arc<dyn Counters>,
    log: Arc<dyn Log>,
    earlier: EarlierRequests,
    rollouts: Arc<Rollouts>,
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
        let Dependencies { campaigns, counters, log, earlier, rollouts, load, decisions } = dependencies;
        Self {
            campaigns,
            counters,
            log,
            earlier,
            rollouts,
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
    /// Answers with what decided.
    ///
    /// # Errors
    /// [`Refusal`], after the reservation for the request was released, unless its record may be in the log.
    pub async fn admit(self: &Arc<Self>, submission: Submission) -> (DecidedBy, Result<Receipt, Refusal>) {
        let IssueRequest { coupon_id, user_id, .. } = submission.request;
        let chosen = Arc::new(self.rollouts.choose(coupon_id, user_id));
        let answer = self.decide(&chosen, submission).await;
        (chosen.decided_by(), answer)
    }

    async fn decide(self: &Arc<Self>, chosen: &Arc<Chosen>, submission: Submission) -> Result<Receipt, Refusal> {
        self.load.count_arrival();
        let in_flight = self.begin()?;
        let campaign = self.find_campaign(&submission.request)?;
        let (candidate, group) = (Candidate::new(submission, chosen.decided_by()), campaign.campaign.group);
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
            Err(refusal) => match (self.earlier.key_state(&candidate).await?, &refusal) {
                // Nothing is appended for a campaign that is over: its outcomes may be deleted, and would not tell a replay.
                (KeyState::Held, Refusal::Closed) | (KeyState::Unknown, Refusal::Closed | Refusal::Paused) => {
                    return match unknown {
                        Some(unknown) => Err(unknown),
                        None => self.earlier.await_outcome(candidate.request_id, group).await?.ok_or(refusal),
                    };
                }
                // Appended again, settlement drops one of the two records.
                (KeyState::Held, _) => campaign,
                // Once a coupon is sold out, most requests are refused: too many for each to wait for settlement.
                (KeyState::Unknown | KeyState::NotHeld, _) => return Err(unknown.unwrap_or(refusal)),
            },
        };
        let accepting = Arc::clone(self).accept(Arc::clone(chosen), candidate, campaign, in_flight);
        self.detached.run(accepting).await
    }

    /// Runs to its end, also if the client disconnects.
    async fn accept(
        self: Arc<Self>,
        chosen: Arc<Chosen>,
        candidate: Candidate,
        campaign: Arc<CachedCampaign>,
        _in_flight: InFlightGuard,
    ) -> Result<Receipt, Refusal> {
        let generation = &*chosen.generation;
        let mut reservation = Reservation::new(&*self.counters, generation, candidate.subject(generation));
        let answer = self.judge_and_append(&chosen, candidate, &campaign, &mut reservation).await;
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
        chosen: &Chosen,
        candidate: Candidate,
        campaign: &CachedCampaign,
        reservation: &mut Reservation<'_>,
    ) -> Result<Receipt, Refusal> {
        let mut judgement = Judgement {
            campaigns: &self.campaigns,
            log: &*self.log,
            load: &self.load,
            in_flight: self.in_flight(),
            chosen,
            facts: candidate.facts(),
            campaign,
            reservation,
            trace: self.decisions.trace(candidate.request_id),
        };
        let judged = judgement.judge().await;
        self.decisions.record(candidate.request_id, candidate.decided_by, &judgement.facts, judgement.trace);
        let shard_no = judged?;
        let (accepted, headers) = candidate.accept(shard_no, &chosen.generation);
        self.append(&accepted, headers, campaign).await
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

    async fn append(
        &self,
        accepted: &Accepted,
        headers: Headers,
        campaign: &CachedCampaign,
    ) -> Result<Receipt, Refusal> {
        let coupon_id = accepted.request.coupon_id;
        let partition = self.campaigns.partition_of(&campaign.campaign, accepted.shard_no);
        let record = Record { key: format!("{coupon_id}:{}", accepted.shard_no), headers, value: accepted.encode() };
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

/// Counts one request as in flight until it is dropped.
struct InFlightGuard(Arc<AtomicUsize>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
