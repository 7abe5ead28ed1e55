use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Arm, CouponId, Fingerprint, GenerationNo, Offset, PartitionNo, RequestId, ShardNo, Terms, UnixMs, UserId};

/// The result of a request. Once committed it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Issued {
        /// The shard whose stock was used. Not the picked shard if that was empty.
        shard: ShardNo,
        /// Counts the user's grants of this coupon, from 1. Unique in the ledger, which enforces the per-user limit.
        grant_no: u32,
    },
    Rejected(Reason),
}

/// Why settlement rejected a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = RejectionReason)]
pub enum Reason {
    /// All shards of the coupon were empty at once.
    SoldOut,
    /// The user already holds the campaign's `perUserLimit`.
    UserLimit,
    /// The record could not be read, or names a coupon that does not exist.
    Invalid,
}

impl Reason {
    pub const ALL: [Self; 3] = [Self::SoldOut, Self::UserLimit, Self::Invalid];

    /// The name in HTTP answers, metrics and the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SoldOut => "SOLD_OUT",
            Self::UserLimit => "USER_LIMIT",
            Self::Invalid => "INVALID",
        }
    }
}

/// A settled request: one row of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub request_id: RequestId,
    /// `None` if the record could not be decoded.
    pub subject: Option<SettledRequest>,
    pub outcome: Outcome,
    pub partition: PartitionNo,
    pub offset: Offset,
    pub settled_at_ms: UnixMs,
}

/// The request, as far as the ledger stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledRequest {
    pub coupon_id: CouponId,
    pub user_id: UserId,
    /// The shard that the policy picked.
    pub picked_shard: ShardNo,
    /// The pipeline generation that admitted the request.
    pub generation: GenerationNo,
    /// The arm whose policies admitted it.
    pub arm: Arm,
    /// Only with an Idempotency-Key.
    pub fingerprint: Option<Fingerprint>,
    pub arrived_at_ms: UnixMs,
    /// Stored only with a grant.
    pub terms: Terms,
}
