//! What is known of requests that were accepted earlier, here or by another gateway.

use std::sync::Arc;
use std::time::Duration;

use super::recent::{LogPosition, RecentRequests};
use super::refusal::Refusal;
use super::submission::{Candidate, Receipt};
use crate::counters::Counters;
use crate::coupon::RequestId;
use crate::ledger::{Ledger, LedgerError, ReadBreaker, RecordedOutcome};
use crate::log::Log;
use crate::settlement::Progress;

/// Settlement takes milliseconds, and another process learns of it within half a second.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// Finds requests that were accepted earlier.
pub struct EarlierRequests {
    ledger: Arc<dyn Ledger>,
    reads: ReadBreaker,
    counters: Arc<dyn Counters>,
    log: Arc<dyn Log>,
    progress: Arc<Progress>,
    recent: RecentRequests,
}

impl EarlierRequests {
    #[must_use]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        counters: Arc<dyn Counters>,
        log: Arc<dyn Log>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { ledger, reads: ReadBreaker::default(), counters, log, progress, recent: RecentRequests::default() }
    }

    /// A record of the request is durable.
    pub(super) fn remember(&self, request: RequestId, position: LogPosition) {
        self.recent.insert(request, position);
    }

    pub(super) fn recent_position(&self, request: RequestId) -> Option<LogPosition> {
        self.recent.get(request)
    }

    pub(super) async fn outcome(&self, request: RequestId) -> Result<Option<RecordedOutcome>, LedgerError> {
        self.reads.read(self.ledger.outcome(request)).await
    }

    /// Finds the request that an Idempotency-Key already belongs to: this one, if it was accepted earlier, or one with
    /// another body.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] for the latter.
    pub(super) async fn find(&self, candidate: &Candidate) -> Result<Option<Receipt>, Refusal> {
        let Candidate { request_id, fingerprint: Some(fingerprint), .. } = *candidate else { return Ok(None) };
        if let Some(LogPosition { partition, offset }) = self.recent.get(request_id) {
            return Ok(Some(Receipt { request_id, partition, offset, outcome: None }));
        }
        let read = self.ledger.outcome_under_key(request_id, fingerprint);
        match self.reads.read(read).await.map_err(Refusal::LedgerUnavailable)? {
            Some((holder, recorded)) if holder == request_id => Ok(Some(Receipt::of_settled(request_id, recorded))),
            Some(_) => Err(Refusal::IdempotencyConflict),
            None => Ok(None),
        }
    }

    /// Whether the request holds its Idempotency-Key. If no outcome of it is known, it was accepted moments ago, maybe
    /// by another gateway. While the counters are unavailable, the request counts as new.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] when another request holds the key.
    pub(super) async fn holds_key(&self, candidate: &Candidate) -> Result<bool, Refusal> {
        let Some(fingerprint) = candidate.fingerprint else { return Ok(false) };
        match self.counters.key_holder(fingerprint).await {
            Ok(Some(holder)) if holder == candidate.request_id => Ok(true),
            Ok(Some(_)) => Err(Refusal::IdempotencyConflict),
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// The outcome of a request whose campaign is over, once all is settled that was appended until now. `None` if the
    /// request has none: it was never appended, or its outcome is deleted.
    ///
    /// # Errors
    /// [`Refusal::LedgerUnavailable`] while records wait for settlement.
    pub(super) async fn await_outcome(&self, request_id: RequestId) -> Result<Option<Receipt>, Refusal> {
        let settled = tokio::time::timeout(SETTLED_WITHIN, self.progress.settled_to_end(&*self.log)).await;
        match self.outcome(request_id).await.map_err(Refusal::LedgerUnavailable)? {
            Some(recorded) => Ok(Some(Receipt::of_settled(request_id, recorded))),
            None if settled.unwrap_or(false) => Ok(None),
            None => Err(Refusal::LedgerUnavailable(LedgerError::Transient {
                step: "wait for the settlement of an earlier attempt",
                source: format!("not settled within {} s", SETTLED_WITHIN.as_secs()).into(),
            })),
        }
    }
}
