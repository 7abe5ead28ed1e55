//! The nouns: who asks, for what, and how it ended. No I/O, no clock, nothing asynchronous.
//!
//! Everything here is checked where it is made: a value of these types is valid, and nothing below
//! the HTTP layer checks it again.

mod campaign;
mod id;
mod outcome;
mod request;

pub use campaign::{
    Audit, Campaign, CampaignChange, CampaignState, Entry, NewCampaign, ShardAudit, ShardStock, spread,
};
pub use id::{CouponId, OutOfRange, PartitionNo, PolicyId, RequestId, ShardNo, UserId};
pub use outcome::{Outcome, Reason, Settled, SettledRequest};
pub use request::{Accepted, Fingerprint, IssueRequest, Terms};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;

/// A record's place in its partition of the log: 0, 1, 2, …
pub type Offset = u64;

/// The number of a pipeline: it grows by one with every change of what decides.
pub type GenerationNo = u64;

/// Reads the wall clock.
#[must_use]
pub fn now_ms() -> UnixMs {
    jiff::Timestamp::now().as_millisecond()
}
