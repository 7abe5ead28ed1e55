//! The domain types: ids, campaigns, requests and outcomes. No I/O, nothing asynchronous; only [`now_ms`] reads the clock.
//!
//! Values are validated when they are constructed, so nothing below the HTTP layer checks them again.

mod arm;
mod campaign;
mod group;
mod id;
mod outcome;
mod request;

pub use arm::{Arm, DecidedBy};
pub use campaign::{
    Audit, Campaign, CampaignChange, CampaignState, ChangeError, ChangeKey, Entry, NewCampaign, Recount, ShardAudit,
    ShardStock,
};
pub use group::{GroupLayout, GroupNo};
pub(crate) use id::mix64;
pub use id::{CouponId, LogId, OutOfRange, PartitionNo, PolicyId, RequestId, ShardNo, UserId};
pub use outcome::{Outcome, Reason, Settled, SettledRequest};
pub use request::{Accepted, CampaignCounts, Fingerprint, IssueRequest, Terms};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;

/// A record's number within its log partition: 0, 1, 2, … without gaps.
pub type Offset = u64;

/// The number of a pipeline generation. Every pipeline change increments it.
pub type GenerationNo = u64;

/// The wall clock, which may be set back and differs between gateways.
#[must_use]
pub fn now_ms() -> UnixMs {
    jiff::Timestamp::now().as_millisecond()
}
