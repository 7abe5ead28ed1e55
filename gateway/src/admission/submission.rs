//! A request before and after it is accepted.

use crate::counters::Subject;
use crate::coupon::{
    Accepted, DecidedBy, Fingerprint, IssueRequest, Offset, Outcome, PartitionNo, RequestId, ShardNo, UnixMs,
};
use crate::ledger::RecordedOutcome;
use crate::log::Headers;
use crate::policy::{self, Generation};

/// A request for a coupon, as the client sent it.
#[derive(Debug, Clone)]
pub struct Submission {
    pub request: IssueRequest,
    /// The value of the Idempotency-Key header.
    pub idempotency_key: Option<Vec<u8>>,
    /// W3C Trace Context, as the client sent it.
    pub traceparent: Option<String>,
    pub arrived_at_ms: UnixMs,
}

/// A request that is in the log, appended now or earlier under the same Idempotency-Key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub request_id: RequestId,
    pub partition: PartitionNo,
    /// See [`Ack`](crate::log::Ack).
    pub offset: Offset,
    /// Present if the request is already settled.
    pub outcome: Option<Outcome>,
}

impl Receipt {
    pub(super) fn of_settled(request_id: RequestId, recorded: RecordedOutcome) -> Self {
        let RecordedOutcome { outcome, partition, offset, .. } = recorded;
        Self { request_id, partition, offset, outcome: Some(outcome) }
    }
}

/// A submission with its request id, and what decides about it.
pub(super) struct Candidate {
    pub(super) request_id: RequestId,
    /// Detects a key that is reused for another body. Absent without a key, where every request is new.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) decided_by: DecidedBy,
    pub(super) submission: Submission,
}

impl Candidate {
    /// A retry with the same key and body gets the same request id.
    pub(super) fn new(submission: Submission, decided_by: DecidedBy) -> Self {
        let key = submission.idempotency_key.as_deref();
        let from_key = |key| submission.request.id_under(key);
        let request_id = key.map_or_else(RequestId::new, from_key);
        let fingerprint = key.map(Fingerprint::of_key);
        Self { request_id, fingerprint, decided_by, submission }
    }

    pub(super) fn subject(&self, generation: &Generation) -> Subject {
        Subject {
            request_id: self.request_id,
            attempt: uuid::Uuid::new_v4().as_fields().0,
            coupon_id: self.submission.request.coupon_id,
            user_id: self.submission.request.user_id,
            arrived_at_ms: self.submission.arrived_at_ms,
            fingerprint: self.fingerprint,
            campaign_counts: generation.campaign_counts(),
        }
    }

    /// What the policies see of the request.
    pub(super) fn facts(&self) -> policy::Request {
        policy::Request {
            coupon_id: self.submission.request.coupon_id.get(),
            policy_id: self.submission.request.policy_id.get(),
            user_id: self.submission.request.user_id.get(),
            arrived_at_ms: self.submission.arrived_at_ms.unsigned_abs(),
            entropy: self.request_id.entropy(),
        }
    }

    /// The value of the log record, and its headers.
    pub(super) fn accept(self, shard_no: ShardNo, generation: &Generation) -> (Accepted, Headers) {
        let Self { request_id, fingerprint, decided_by, submission } = self;
        let Submission { request, traceparent, arrived_at_ms, .. } = submission;
        let campaign_counts = generation.campaign_counts();
        let DecidedBy { generation, arm } = decided_by;
        let accepted =
            Accepted { request_id, arrived_at_ms, shard_no, generation, arm, fingerprint, campaign_counts, request };
        (accepted, Headers { request_id: Some(request_id), traceparent, decided_by })
    }
}
