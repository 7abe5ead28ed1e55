//! Measures requests for the policies.
//!
//! A policy declares its [`Measure`]s once; the host takes all of them before every decision. Two requests that race
//! for the last place cannot both see it free, because the host counts first and the policy judges the count.
//!
//! Counters are an early answer, never the authority: the ledger enforces the campaign's limit whatever they say, so
//! their content may be lost at any time.

mod campaign_counts;
#[cfg(test)]
pub mod contract;
mod fail_open;
mod hook;
pub mod local;
mod open;
mod open_error;
mod options;
pub mod redis;

use std::num::NonZeroU32;

use futures_util::future::{BoxFuture, Either, Ready};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use utoipa::ToSchema;

use crate::coupon::{CampaignCounts, CouponId, Fingerprint, RequestId, UnixMs, UserId};

pub use hook::{Hook, PerHook};
pub use open::{check, open};
pub use open_error::OpenError;
pub use options::{OnUnavailable, Options};

/// Which requests share a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    UserOfCoupon,
    User,
    Coupon,
    /// All requests of all gateways that share the counters.
    Gateway,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::UserOfCoupon, Self::User, Self::Coupon, Self::Gateway];

    /// The name in Redis keys and in the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserOfCoupon => "user-of-coupon",
            Self::User => "user",
            Self::Coupon => "coupon",
            Self::Gateway => "gateway",
        }
    }

    /// The part of a counter's identity that comes from the request.
    #[must_use]
    pub const fn of(self, subject: &Subject) -> (Option<CouponId>, Option<UserId>) {
        match self {
            Self::UserOfCoupon => (Some(subject.coupon_id), Some(subject.user_id)),
            Self::User => (None, Some(subject.user_id)),
            Self::Coupon => (Some(subject.coupon_id), None),
            Self::Gateway => (None, None),
        }
    }
}

/// What a policy asks to have measured. A new policy version with the same measure continues the same counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "measure")]
pub enum Measure {
    /// Requests in a sliding window, this one included, numbered in the order of [`reserve`](Counters::reserve): a
    /// gateway whose clock is slightly behind cannot take a place that another request holds.
    ///
    /// A retry under the same [`RequestId`] is not counted again and keeps its number. Both hold for the newest
    /// [`TRACKED_IDS_MAX`] requests of a count. An adapter may aggregate older ones, which a retry adds to and which
    /// leave the window in steps. When in doubt the count is too low: the ledger corrects a count that is too low,
    /// and nothing corrects one that is too high.
    Count {
        scope: Scope,
        /// 0 is the whole campaign, in which a request counts until it is [forgotten](Counters::forget).
        window_ms: u64,
    },
    /// A token bucket, kept as a generic cell rate (GCRA, ITU-T I.371). A retry takes a token too.
    Bucket {
        scope: Scope,
        /// Tokens added every `per_ms`.
        #[schema(value_type = u32, minimum = 1)]
        requests: NonZeroU32,
        #[schema(value_type = u32, minimum = 1)]
        per_ms: NonZeroU32,
        /// Tokens in a full bucket.
        #[schema(value_type = u32, minimum = 1)]
        burst: NonZeroU32,
    },
    /// 0, 1, 2, …: a different number for every request, until the counters are lost.
    Sequence { scope: Scope },
}

impl Measure {
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Count { scope, .. } | Self::Bucket { scope, .. } | Self::Sequence { scope } => *scope,
        }
    }
}

/// Each tracked id costs memory and a search per request. 256 is far more than one user sends, and enough for the
/// requests in flight of a whole gateway.
pub const TRACKED_IDS_MAX: usize = 256;

/// The answer to a [`Measure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measured {
    /// This request's number in the window, from 1.
    Count(u64),
    /// The bucket had a token, which is now reserved.
    Conforming,
    /// The bucket was empty; the next token comes after this many milliseconds, at least 1.
    ConformingInMs(u32),
    Sequence(u64),
}

/// The request to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Makes counting idempotent.
    pub request_id: RequestId,
    /// Each attempt of a request has a number of its own. In Redis it makes claiming and releasing the key idempotent.
    pub attempt: u32,
    pub coupon_id: CouponId,
    pub user_id: UserId,
    /// The clock of every window and bucket.
    pub arrived_at_ms: UnixMs,
    /// The Idempotency-Key that `reserve` claims for the request.
    pub fingerprint: Option<Fingerprint>,
    /// The whole-campaign counts from which `forget` removes the request.
    pub campaign_counts: CampaignCounts,
}

/// One value for each measure of a policy, in their order. Few policies declare more than four; more are stored on the
/// heap.
pub type PerMeasure<T> = SmallVec<[T; 4]>;

/// What was measured, and which part of it this call added and can be released.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reserved {
    pub measured: PerMeasure<Measured>,
    /// Bit `i` is set when measure `i` counted this request or took a token for it, [`KEY_ADDED`] when this call
    /// claimed the key for the request, whether or not an earlier attempt holds it too.
    pub added: u32,
    /// Another request holds the key. Nothing was measured and nothing added.
    pub is_key_taken: bool,
}

/// The bit of [`Reserved::added`] for the Idempotency-Key.
pub const KEY_ADDED: u32 = 1 << 31;

/// What one call added: a hook, its measures, and the [`Reserved::added`] that the call answered.
#[derive(Debug, Clone, Copy)]
pub struct Added<'a> {
    pub hook: Hook,
    pub measures: &'a [Measure],
    pub bits: u32,
}

impl Added<'_> {
    const fn has_key(&self) -> bool {
        self.bits & KEY_ADDED != 0
    }

    /// The measures that counted the request or took a token.
    fn measures(&self) -> impl Iterator<Item = (Hook, &Measure)> {
        let added = self.measures.iter().enumerate().filter(|(index, _)| self.bits & (1 << index) != 0);
        added.map(|(_, measure)| (self.hook, measure))
    }
}

/// Bounds the time of a reservation, and fits the bits of [`Reserved::added`].
pub const MEASURES_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
#[error("counters unavailable: {0}")]
pub struct Unavailable(pub String);

/// The answer of a call: there already, from memory, or to be awaited, from a server. Only the latter is boxed.
pub type Answer<'a, T> = Either<Ready<Result<T, Unavailable>>, BoxFuture<'a, Result<T, Unavailable>>>;

/// Measures requests. Every counter is atomic: of two requests that race for it, one is measured after the other. The
/// hook, the measure and what its [`Scope`] selects identify a counter.
///
/// An Idempotency-Key belongs to the first request that claims it, until it is released or forgotten: after a
/// day in Redis; in one process, when hundreds of thousands of newer keys have displaced it.
///
/// Several attempts of one request may be in progress at once, on several gateways. Each claims the key, and may be
/// accepted because an earlier one has counted the request already. So what an attempt counted stays counted while
/// another attempt holds the key.
pub trait Counters: Send + Sync + 'static {
    /// Claims the subject's key if it has one, then takes all measures of a hook, at most [`MEASURES_MAX`], in one round
    /// trip.
    fn reserve<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject) -> Answer<'a, Reserved>;

    /// Undoes what the calls of [`reserve`](Counters::reserve) added for an attempt that was then refused or not
    /// appended: the request is no longer counted, its key is free, and its tokens return to their buckets. A sequence
    /// keeps the gap.
    ///
    /// While another attempt holds the key, only the tokens return. The last attempt that is released also undoes what
    /// the earlier ones counted. An attempt whose key is lost counts as the last one: when in doubt the count is too
    /// low.
    ///
    /// `added` is all that was added for the attempt. Release it only once. An accepted attempt is never released.
    fn release<'a>(&'a self, subject: &'a Subject, added: &'a [Added<'a>]) -> Answer<'a, ()>;

    /// The request that holds an Idempotency-Key. Claims nothing.
    fn key_holder(&self, fingerprint: Fingerprint) -> Answer<'_, Option<RequestId>>;

    /// Removes requests that settlement rejected from their whole-campaign counts, so that the user may try again.
    /// `Ok` means that all of them are removed; after an error, some may be.
    ///
    /// Requests that are not counted are ignored, so the same requests may be forgotten again. Only among the requests
    /// that a count aggregates, this lowers the count once more.
    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> Answer<'a, ()>;

    /// The last known state; makes no call.
    ///
    /// # Errors
    /// Why the counters are unavailable.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether the gateway keeps accepting requests while the counters are unavailable.
    fn is_optional(&self) -> bool {
        false
    }
}
