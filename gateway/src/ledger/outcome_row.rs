//! Encoding of outcomes, written once for both databases.

use serde::{Serialize, Serializer};

use super::terms::GrantTerms;
use crate::coupon::{Arm, CouponId, Offset, Outcome, PartitionNo, RequestId, Settled, ShardNo, UserId};

/// A row of `issue_outcome`.
pub(super) struct OutcomeRow<'a> {
    /// In hexadecimal.
    pub(super) request_id: String,
    pub(super) status: &'static str,
    pub(super) coupon_id: Option<CouponId>,
    pub(super) user_id: Option<UserId>,
    pub(super) grant_no: Option<u32>,
    pub(super) shard_no: Option<ShardNo>,
    pub(super) picked_shard_no: Option<ShardNo>,
    pub(super) generation: Option<u64>,
    pub(super) arm_no: u8,
    pub(super) fingerprint: Option<i64>,
    pub(super) partition: PartitionNo,
    pub(super) offset: Offset,
    pub(super) arrived_at_ms: Option<i64>,
    pub(super) settled_at_ms: i64,
    /// Of grants only. The row holds their digest.
    pub(super) terms: Option<GrantTerms<'a>>,
}

impl<'a> OutcomeRow<'a> {
    pub(super) fn of(settled: &'a Settled) -> Self {
        let subject = settled.subject.as_ref();
        let (status, grant_no, shard_no) = match settled.outcome {
            Outcome::Issued { shard, grant_no } => ("ISSUED", Some(grant_no), Some(shard)),
            Outcome::Rejected(reason) => (reason.as_str(), None, None),
        };
        Self {
            request_id: hexadecimal(&settled.request_id),
            status,
            coupon_id: subject.map(|subject| subject.coupon_id),
            user_id: subject.map(|subject| subject.user_id),
            grant_no,
            shard_no,
            picked_shard_no: subject.map(|subject| subject.picked_shard),
            generation: subject.map(|subject| subject.generation),
            arm_no: arm_no(subject.map(|subject| subject.arm).unwrap_or_default()),
            fingerprint: subject.and_then(|subject| subject.fingerprint).map(|fingerprint| fingerprint.0),
            partition: settled.partition,
            offset: settled.offset,
            arrived_at_ms: subject.map(|subject| subject.arrived_at_ms),
            settled_at_ms: settled.settled_at_ms,
            terms: subject
                .filter(|_| grant_no.is_some())
                .map(|subject| GrantTerms::of(subject.coupon_id, &subject.terms)),
        }
    }
}

/// The arm in the ledger. Outcomes that were written before there were arms are of the active one.
pub(super) const fn arm_no(arm: Arm) -> u8 {
    match arm {
        Arm::Active => 0,
        Arm::Canary => 1,
    }
}

/// As an array in the order of the columns: one JSON parameter carries a batch of rows.
impl Serialize for OutcomeRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = (
            &self.request_id,
            self.status,
            self.coupon_id,
            self.user_id,
            self.grant_no,
            self.shard_no,
            self.picked_shard_no,
            self.generation,
            self.arm_no,
            self.fingerprint,
            self.partition,
            self.offset,
            self.arrived_at_ms,
            self.settled_at_ms,
            self.terms.as_ref().map(|terms| terms.digest),
        );
        row.serialize(serializer)
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are always JSON")
}

pub(super) fn hexadecimal(request: &RequestId) -> String {
    uuid::Uuid::from_bytes(*request.as_bytes()).simple().to_string()
}
