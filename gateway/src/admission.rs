//! The first half of a request's way: may this person ask, now, and which shard is it to be?
//!
//! [`Admission::admit`] reads as the story. What was measured for a request that is then refused, or
//! not appended, is given back, also when the client hangs up in between.

mod load;
mod recent;
mod reservation;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::campaign_cache::{CachedCampaign, CachedShard, CampaignCache, Unsettled};
use crate::counters::{Counters, Hook, Subject};
use crate::coupon::{
    Accepted, Entry, Fingerprint, GenerationNo, IssueRequest, Offset, Outcome, PartitionNo, RequestId, ShardNo, UnixMs,
};
use crate::ledger::{Ledger, LedgerError, RecordedOutcome};
use crate::log::{AppendError, Headers, Log, Record};
use crate::policy::{self, Generation, Pipelines, PolicyUnavailable, Rejection, Shaping};

pub use load::{LoadGauge, SAMPLE_EVERY, Sampler};
pub use recent::{LogPosition, Recent};
use reservation::Reservation;

/// A policy may not hold a request for longer; the client's own patience ends about there.
const DELAY_MAX: Duration = Duration::from_secs(2);

/// Decides about requests and makes them durable.
pub struct Admission {
    campaigns: Arc<CampaignCache>,
    counters: Arc<dyn Counters>,
    log: Arc<dyn Log>,
    /// Holds how an earlier request under the same key ended.
    ledger: Arc<dyn Ledger>,
    pipelines: Arc<Pipelines>,
    load: Arc<LoadGauge>,
    recent: Recent,
    in_flight_max: usize,
    in_flight: AtomicUsize,
}

/// Somebody asks.
#[derive(Debug, Clone)]
pub struct Submission {
    /// For what.
    pub request: IssueRequest,
    /// The client's Idempotency-Key.
    pub idempotency_key: Option<Vec<u8>>,
    /// W3C Trace Context, as the client sent it.
    pub traceparent: Option<String>,
    /// When the request arrived.
    pub arrived_at_ms: UnixMs,
}

/// A request that was accepted: now, or earlier under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its name.
    pub request_id: RequestId,
    /// Which partition carries it.
    pub partition: PartitionNo,
    /// Where it stands there.
    pub offset: Offset,
    /// How it ended, when it has already.
    pub outcome: Option<Outcome>,
}

/// Why somebody was turned away. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such campaign.
    #[error("there is no campaign for this coupon")]
    CouponNotFound,
    /// The campaign is of another coupon policy.
    #[error("coupon belongs to policy {expected}")]
    OtherPolicy {
        /// Which one.
        expected: crate::coupon::PolicyId,
    },
    /// Not before this time.
    #[error("the campaign has not opened yet")]
    NotOpen {
        /// When it opens.
        opens_at_ms: UnixMs,
    },
    /// Not until it is resumed.
    #[error("the campaign is paused")]
    Paused,
    /// Not again.
    #[error("the campaign is closed")]
    Closed,
    /// Every shard is empty.
    #[error("all coupons are gone")]
    SoldOut,
    /// A policy said no.
    #[error("{} says {}", hook.as_str(), rejection.code)]
    Policy {
        /// Which one.
        hook: Hook,
        /// Its words.
        rejection: Rejection,
        /// The rate behind it, where the policy keeps one.
        quota: Option<policy::Quota>,
    },
    /// The same key came with another body.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// Too many requests are on their way.
    #[error("too many requests are on their way")]
    Overloaded,
    /// The request could not be made durable.
    #[error("the log is not available: {0}")]
    LogUnavailable(AppendError),
    /// An earlier request under the key could not be looked up.
    #[error("the ledger is not available: {0}")]
    LedgerUnavailable(#[source] LedgerError),
    /// A policy failed, and its hook refuses in that case.
    #[error("the {} policy is not available", .0.hook.as_str())]
    PolicyUnavailable(PolicyUnavailable),
}

impl Admission {
    /// At most `in_flight_max` requests are decided at the same time.
    #[must_use]
    pub fn new(
        campaigns: Arc<CampaignCache>,
        counters: Arc<dyn Counters>,
        log: Arc<dyn Log>,
        ledger: Arc<dyn Ledger>,
        pipelines: Arc<Pipelines>,
        load: Arc<LoadGauge>,
        in_flight_max: usize,
    ) -> Self {
        let (recent, in_flight) = (Recent::default(), AtomicUsize::new(0));
        Self { campaigns, counters, log, ledger, pipelines, load, recent, in_flight_max, in_flight }
    }

    /// Requests that are being decided now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Where a request stands that was accepted a moment ago.
    #[must_use]
    pub fn recent(&self, request: RequestId) -> Option<LogPosition> {
        self.recent.get(request)
    }

    /// Decides about one request and makes it durable.
    ///
    /// # Errors
    /// The [`Refusal`]; what was measured for the request is given back.
    pub async fn admit(&self, submission: Submission) -> (GenerationNo, Result<Receipt, Refusal>) {
        let generation = self.pipelines.current();
        let answer = self.decide(&generation, submission).await;
        (generation.number(), answer)
    }

    async fn decide(&self, generation: &Arc<Generation>, submission: Submission) -> Result<Receipt, Refusal> {
        self.load.arrived();
        let _place = self.enter()?;
        let campaign = self.campaign(&submission.request)?;
        let request_id = submission.request_id();
        let fingerprint = submission.fingerprint();
        if let Some(fingerprint) = fingerprint
            && let Some(receipt) = self.earlier(request_id, fingerprint).await?
        {
            return Ok(receipt);
        }
        let campaign = self.enter_campaign(campaign, &submission).await?;

        let subject = submission.subject(request_id);
        let mut reservation = Reservation::new(&self.counters, generation, subject);
        let answer =
            self.judge_and_append(generation, submission, request_id, fingerprint, &campaign, &mut reservation).await;
        match &answer {
            Ok(_) => reservation.keep(),
            Err(_) => reservation.release().await,
        }
        answer
    }

    async fn judge_and_append(
        &self,
        generation: &Generation,
        submission: Submission,
        request_id: RequestId,
        fingerprint: Option<Fingerprint>,
        campaign: &CachedCampaign,
        reservation: &mut Reservation,
    ) -> Result<Receipt, Refusal> {
        let facts = submission.facts(request_id);
        self.shape(generation, &facts, reservation).await?;
        self.limit(generation, &facts, campaign, reservation).await?;
        let shard_no = self.pick(generation, &facts, campaign, reservation).await?;
        let accepted = Accepted {
            request_id,
            arrived_at_ms: submission.arrived_at_ms,
            shard_no,
            generation: generation.number(),
            fingerprint,
            request: submission.request,
        };
        self.append(&accepted, submission.traceparent, campaign).await
    }

    /// Takes one of the places that bound what is on its way.
    fn enter(&self) -> Result<InFlight<'_>, Refusal> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = InFlight(&self.in_flight);
        if before < self.in_flight_max { Ok(place) } else { Err(Refusal::Overloaded) }
    }

    fn campaign(&self, request: &IssueRequest) -> Result<Arc<CachedCampaign>, Refusal> {
        let known = self.campaigns.get(request.coupon_id).ok_or(Refusal::CouponNotFound)?;
        if known.campaign.policy_id != request.policy_id {
            return Err(Refusal::OtherPolicy { expected: known.campaign.policy_id });
        }
        Ok(known)
    }

    /// The campaign, if it takes requests now.
    async fn enter_campaign(
        &self,
        campaign: Arc<CachedCampaign>,
        submission: &Submission,
    ) -> Result<Arc<CachedCampaign>, Refusal> {
        match is_open(&campaign, submission.arrived_at_ms) {
            Ok(()) => Ok(campaign),
            Err(Refusal::SoldOut) => {
                let coupon_id = submission.request.coupon_id;
                if self.campaigns.is_sold_out(coupon_id).await.map_err(Refusal::LedgerUnavailable)? {
                    return Err(Refusal::SoldOut);
                }
                self.campaign(&submission.request)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// What became of an earlier request under the same key.
    async fn earlier(&self, request_id: RequestId, fingerprint: Fingerprint) -> Result<Option<Receipt>, Refusal> {
        let (place, outcome) = match self.recent.get(request_id) {
            Some(place) => (place, None),
            None => match self.ledger.outcome(request_id).await.map_err(Refusal::LedgerUnavailable)? {
                Some(recorded) => (position_of(&recorded), Some(recorded.outcome)),
                None => return Ok(None),
            },
        };
        if place.fingerprint != Some(fingerprint) {
            return Err(Refusal::IdempotencyConflict);
        }
        Ok(Some(Receipt { request_id, partition: place.partition, offset: place.offset, outcome }))
    }

    async fn shape(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        reservation: &mut Reservation,
    ) -> Result<(), Refusal> {
        let measured = reservation.reserve(Hook::RateShaper).await;
        let load = self.load.read(self.in_flight());
        match generation.shape(facts, measured.as_deref(), &load).map_err(Refusal::PolicyUnavailable)? {
            Shaping::Pass => Ok(()),
            Shaping::Delay(ms) => {
                tokio::time::sleep(Duration::from_millis(ms.into()).min(DELAY_MAX)).await;
                Ok(())
            }
            Shaping::Shed(rejection) => Err(refused(generation, Hook::RateShaper, rejection)),
        }
    }

    async fn limit(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        campaign: &CachedCampaign,
        reservation: &mut Reservation,
    ) -> Result<(), Refusal> {
        let measured = reservation.reserve(Hook::UserLimit).await;
        let usage = policy::Usage {
            per_user_limit: campaign.campaign.per_user_limit,
            total: campaign.campaign.total,
            remaining: campaign.remaining(),
        };
        match generation.admit(facts, measured.as_deref(), &usage).map_err(Refusal::PolicyUnavailable)? {
            policy::LimitVerdict::Admit => Ok(()),
            policy::LimitVerdict::Refuse(rejection) => Err(refused(generation, Hook::UserLimit, rejection)),
        }
    }

    async fn pick(
        &self,
        generation: &Generation,
        facts: &policy::Request,
        campaign: &CachedCampaign,
        reservation: &mut Reservation,
    ) -> Result<ShardNo, Refusal> {
        let measured = reservation.reserve(Hook::ShardPicker).await;
        let shards: Vec<policy::Shard> =
            campaign.shards.iter().map(|shard| self.shard_facts(campaign, shard)).collect();
        generation.pick(facts, measured.as_deref(), &shards).map_err(Refusal::PolicyUnavailable)
    }

    fn shard_facts(&self, campaign: &CachedCampaign, shard: &CachedShard) -> policy::Shard {
        let partition = PartitionNo::of(campaign.campaign.coupon_id, shard.shard_no, self.log.partitions());
        policy::Shard {
            shard_no: shard.shard_no.0,
            remaining: shard.remaining(),
            unsettled: shard.unsettled(),
            lag_records: self.load.lag_records(partition),
        }
    }

    async fn append(
        &self,
        accepted: &Accepted,
        traceparent: Option<String>,
        campaign: &CachedCampaign,
    ) -> Result<Receipt, Refusal> {
        let coupon_id = accepted.request.coupon_id;
        let partition = PartitionNo::of(coupon_id, accepted.shard_no, self.log.partitions());
        let record = Record {
            key: format!("{coupon_id}:{}", accepted.shard_no),
            headers: Headers { request_id: Some(accepted.request_id), traceparent, generation: accepted.generation },
            value: accepted.encode(),
        };
        let waiting = campaign.shard(accepted.shard_no).map(CachedShard::accept);
        let ack = self.log.append(partition, record).map_err(Refusal::LogUnavailable)?;
        let offset = ack.await.map_err(Refusal::LogUnavailable)?;
        waiting.into_iter().for_each(Unsettled::keep);
        self.recent.insert(accepted.request_id, LogPosition { partition, offset, fingerprint: accepted.fingerprint });
        Ok(Receipt { request_id: accepted.request_id, partition, offset, outcome: None })
    }
}

impl Submission {
    /// A retry under the same key has the same name.
    fn request_id(&self) -> RequestId {
        self.idempotency_key.as_deref().map_or_else(RequestId::new, RequestId::from_idempotency_key)
    }

    /// Only a request with a key can be told from another one with the same name.
    fn fingerprint(&self) -> Option<Fingerprint> {
        self.idempotency_key.as_ref().map(|_| Fingerprint::of(&self.request))
    }

    fn subject(&self, request_id: RequestId) -> Subject {
        Subject {
            request_id,
            coupon_id: self.request.coupon_id,
            user_id: self.request.user_id,
            arrived_at_ms: self.arrived_at_ms,
        }
    }

    fn facts(&self, request_id: RequestId) -> policy::Request {
        policy::Request {
            coupon_id: self.request.coupon_id.get(),
            policy_id: self.request.policy_id.get(),
            user_id: self.request.user_id.get(),
            arrived_at_ms: self.arrived_at_ms.unsigned_abs(),
            entropy: request_id.entropy(),
        }
    }
}

/// Whether the campaign takes requests now, as far as this gateway knows.
fn is_open(campaign: &CachedCampaign, now: UnixMs) -> Result<(), Refusal> {
    match campaign.campaign.entry_at(now) {
        Entry::NotOpen(opens_at_ms) => Err(Refusal::NotOpen { opens_at_ms }),
        Entry::Paused => Err(Refusal::Paused),
        Entry::Closed => Err(Refusal::Closed),
        Entry::Open if campaign.remaining() == 0 => Err(Refusal::SoldOut),
        Entry::Open => Ok(()),
    }
}

fn refused(generation: &Generation, hook: Hook, rejection: Rejection) -> Refusal {
    Refusal::Policy { hook, rejection, quota: generation.quota(hook) }
}

fn position_of(recorded: &RecordedOutcome) -> LogPosition {
    LogPosition { partition: recorded.partition, offset: recorded.offset, fingerprint: recorded.fingerprint }
}

/// A request on its way; the place is free again when it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
