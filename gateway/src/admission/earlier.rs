//! What is known of requests that were accepted earlier, here or by another gateway.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::recent::{LogPosition, RecentRequests};
use super::refusal::Refusal;
use super::submission::{Candidate, Receipt};
use crate::counters::Counters;
use crate::coupon::{GroupLayout, GroupNo, PartitionNo, RequestId};
use crate::ledger::{Ledger, LedgerError, ReadBreaker, RecordedOutcome};
use crate::log::Log;
use crate::settlement::Progress;

/// Settlement takes milliseconds, and another process learns of it within half a second.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// Requests that wait for the settlement of an earlier attempt. More would take the places of requests for other
/// campaigns.
const WAITING_MAX: usize = 256;

/// Whether a request holds its Idempotency-Key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyState {
    /// If no outcome of it is known, it was accepted moments ago, maybe by another gateway.
    Held,
    NotHeld,
    /// The counters do not answer.
    Unknown,
}

/// Finds requests that were accepted earlier.
pub struct EarlierRequests {
    ledger: Arc<dyn Ledger>,
    layout: GroupLayout,
    /// One for each ledger group.
    reads: Vec<ReadBreaker>,
    counters: Arc<dyn Counters>,
    log: Arc<dyn Log>,
    progress: Arc<Progress>,
    recent: RecentRequests,
    waiting: Semaphore,
}

impl EarlierRequests {
    #[must_use]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        counters: Arc<dyn Counters>,
        log: Arc<dyn Log>,
        progress: Arc<Progress>,
        layout: GroupLayout,
    ) -> Self {
        let reads = layout.groups().map(|_| ReadBreaker::default()).collect();
        let (recent, waiting) = (RecentRequests::default(), Semaphore::new(WAITING_MAX));
        Self { ledger, layout, reads, counters, log, progress, recent, waiting }
    }

    /// A record of the request is durable.
    pub(super) fn remember(&self, request: RequestId, position: LogPosition) {
        self.recent.insert(request, position);
    }

    pub(super) fn recent_position(&self, request: RequestId) -> Option<LogPosition> {
        self.recent.get(request)
    }

    pub(super) async fn outcome(
        &self,
        request: RequestId,
        partition: Option<PartitionNo>,
    ) -> Result<Option<RecordedOutcome>, LedgerError> {
        match partition.and_then(|partition| self.layout.group_of(partition)) {
            Some(group) => self.outcome_in(group, request).await,
            None => self.outcome_anywhere(request).await,
        }
    }

    async fn outcome_in(&self, group: GroupNo, request: RequestId) -> Result<Option<RecordedOutcome>, LedgerError> {
        self.reads[group.index()].read(self.ledger.outcome(group, request)).await
    }

    /// A request that no group knows is unknown only if all of them answered.
    async fn outcome_anywhere(&self, request: RequestId) -> Result<Option<RecordedOutcome>, LedgerError> {
        let answers = join_all(self.layout.groups().map(|group| self.outcome_in(group, request))).await;
        let found = answers.iter().find_map(|answer| *answer.as_ref().ok()?);
        match found {
            Some(recorded) => Ok(Some(recorded)),
            None => answers.into_iter().find(Result::is_err).unwrap_or(Ok(None)),
        }
    }

    /// Finds the request that an Idempotency-Key already belongs to: this one, if it was accepted earlier, or one with
    /// another body.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] for the latter.
    pub(super) async fn find(&self, candidate: &Candidate, group: GroupNo) -> Result<Option<Receipt>, Refusal> {
        let Candidate { request_id, fingerprint: Some(fingerprint), .. } = *candidate else { return Ok(None) };
        if let Some(LogPosition { partition, offset }) = self.recent.get(request_id) {
            return Ok(Some(Receipt { request_id, partition, offset, outcome: None }));
        }
        let read = self.ledger.outcome_under_key(group, request_id, fingerprint);
        match self.reads[group.index()].read(read).await.map_err(Refusal::LedgerUnavailable)? {
            Some((holder, recorded)) if holder == request_id => Ok(Some(Receipt::of_settled(request_id, recorded))),
            Some(_) => Err(Refusal::IdempotencyConflict),
            None => Ok(None),
        }
    }

    /// Whether the request holds its Idempotency-Key.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] when another request holds the key.
    pub(super) async fn key_state(&self, candidate: &Candidate) -> Result<KeyState, Refusal> {
        let Some(fingerprint) = candidate.fingerprint else { return Ok(KeyState::NotHeld) };
        match self.counters.key_holder(fingerprint).await {
            Ok(Some(holder)) if holder == candidate.request_id => Ok(KeyState::Held),
            Ok(Some(_)) => Err(Refusal::IdempotencyConflict),
            Ok(None) => Ok(KeyState::NotHeld),
            Err(_) => Ok(KeyState::Unknown),
        }
    }

    /// The outcome of a request whose campaign is over, once all is settled that was appended to the partitions of its
    /// ledger group until now. `None` if the request has none: it was never appended, or its outcome is deleted.
    ///
    /// # Errors
    /// [`Refusal::LedgerUnavailable`] while records wait for settlement, or too many requests wait here.
    pub(super) async fn await_outcome(
        &self,
        request_id: RequestId,
        group: GroupNo,
    ) -> Result<Option<Receipt>, Refusal> {
        let not_settled = |source: String| {
            let (step, source) = ("wait for the settlement of an earlier attempt", source.into());
            Refusal::LedgerUnavailable(LedgerError::Transient { step, source })
        };
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(not_settled(format!("{WAITING_MAX} requests wait already")));
        };
        let all = self.progress.settled_to_end(&*self.log, self.layout.partitions_of(group));
        let settled = tokio::time::timeout(SETTLED_WITHIN, all).await;
        match self.outcome_in(group, request_id).await.map_err(Refusal::LedgerUnavailable)? {
            Some(recorded) => Ok(Some(Receipt::of_settled(request_id, recorded))),
            None if settled.unwrap_or(false) => Ok(None),
            None => Err(not_settled(format!("not settled within {} s", SETTLED_WITHIN.as_secs()))),
        }
    }
}
