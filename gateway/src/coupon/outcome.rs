//! How a request ended.

use serde::{Deserialize, Serialize};

use super::{CouponId, Fingerprint, GenerationNo, Offset, PartitionNo, RequestId, ShardNo, Terms, UnixMs, UserId};

/// The end of a request. Once written it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The user has the coupon.
    Issued {
        /// Where the stock was taken from: not always the shard that was picked.
        shard: ShardNo,
        /// The user's first, second, … of this coupon.
        grant_no: u32,
    },
    /// The user has not.
    Rejected(Reason),
}

/// Why settlement turned a request away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// No shard of the coupon had stock.
    SoldOut,
    /// The user holds as many as the campaign allows.
    UserLimit,
    /// The record could not be read, or names a coupon that does not exist.
    Invalid,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::SoldOut, Self::UserLimit, Self::Invalid];

    /// The word that clients, metrics and the ledger use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SoldOut => "SOLD_OUT",
            Self::UserLimit => "USER_LIMIT",
            Self::Invalid => "INVALID",
        }
    }
}

/// An outcome with what it is about: a row of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Which request.
    pub request_id: RequestId,
    /// `None` where the record could not be read.
    pub subject: Option<SettledRequest>,
    /// How it ended.
    pub outcome: Outcome,
    /// Where it stood in the log.
    pub partition: PartitionNo,
    /// Where it stood in the log.
    pub offset: Offset,
    /// When it was settled.
    pub settled_at_ms: UnixMs,
}

/// What a readable record said of its request.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledRequest {
    /// For which coupon.
    pub coupon_id: CouponId,
    /// Who asked.
    pub user_id: UserId,
    /// The shard that the policy picked.
    pub picked_shard: ShardNo,
    /// Which generation decided.
    pub generation: GenerationNo,
    /// Given when the client sent an Idempotency-Key.
    pub fingerprint: Option<Fingerprint>,
    /// When it arrived.
    pub arrived_at_ms: UnixMs,
    /// Kept with a grant.
    pub terms: Terms,
}
