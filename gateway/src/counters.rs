//! What the gateway measures for its policies.
//!
//! A policy declares what it wants to know ([`Measure`]); before every decision the host has all of
//! it measured here, at once. Two requests that race for the last place cannot both see it free,
//! because the host counts first and the policy judges the count.
//!
//! Counters are an early answer, never the authority: the ledger holds the campaign's limit whatever
//! they say or forget, so losing them loses nothing.

#[cfg(test)]
pub mod contract;
mod fail_open;
pub mod local;
mod options;
pub mod redis;

use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::background::Background;
use crate::coupon::{CouponId, RequestId, UnixMs, UserId};
use crate::telemetry::{CountersSeen, Telemetry};

pub use options::{OnUnavailable, OpenError, Options};

/// Which hook of the pipeline measures. The hooks do not see each other's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Asked first.
    RateShaper,
    /// Asked second.
    UserLimit,
    /// Asked last.
    ShardPicker,
}

impl Hook {
    /// In the order in which a request meets them.
    pub const ALL: [Self; 3] = [Self::RateShaper, Self::UserLimit, Self::ShardPicker];

    /// The word that configuration and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateShaper => "rate-shaper",
            Self::UserLimit => "user-limit",
            Self::ShardPicker => "shard-picker",
        }
    }
}

/// Whose requests are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Those of one user for one coupon.
    UserOfCoupon,
    /// Those of one user.
    User,
    /// Those for one coupon.
    Coupon,
    /// All of them.
    Gateway,
}

impl Scope {
    /// From the narrowest to the widest.
    pub const ALL: [Self; 4] = [Self::UserOfCoupon, Self::User, Self::Coupon, Self::Gateway];

    /// The word that names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserOfCoupon => "user-of-coupon",
            Self::User => "user",
            Self::Coupon => "coupon",
            Self::Gateway => "gateway",
        }
    }

    /// What two requests must have in common to be measured together.
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

/// What is to be measured. A measure that a new policy shares with the one before it goes on counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "measure")]
pub enum Measure {
    /// Requests in a sliding window, this one included, in the order in which they were reserved: a
    /// clock that is a little behind takes no place that somebody has.
    ///
    /// A retry under the same [`RequestId`] is not counted again: it keeps its place. Both hold for
    /// the newest [`COUNTED_BY_NAME`] requests of a count. Older ones may be kept as a number, which
    /// a retry adds to and which slides in steps; in doubt the count is too low, because the ledger
    /// makes up for one that is too low and nothing for one that is too high.
    Count {
        /// Whose requests.
        scope: Scope,
        /// Milliseconds; 0 is the whole campaign, in which a request counts until it is
        /// [forgotten](Counters::forget).
        window_ms: u64,
    },
    /// A token bucket, kept as a generic cell rate (GCRA, ITU-T I.371). A retry takes a token too.
    Bucket {
        /// Whose requests.
        scope: Scope,
        /// Tokens that come every `per_ms`.
        requests: NonZeroU32,
        /// Milliseconds.
        per_ms: NonZeroU32,
        /// Tokens that a full bucket holds.
        burst: NonZeroU32,
    },
    /// 0, 1, 2, …: a number of its own for every request, until the counters are lost.
    Sequence {
        /// Whose requests.
        scope: Scope,
    },
}

impl Measure {
    /// Whose requests.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Count { scope, .. } | Self::Bucket { scope, .. } | Self::Sequence { scope } => *scope,
        }
    }
}

/// So many requests of a count are known by name, which costs memory and a search for each: far more
/// than one user sends, and enough for what is still in flight of a whole gateway.
pub const COUNTED_BY_NAME: usize = 256;

/// The answer to a [`Measure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// This request is the so-manieth in the window.
    Count(u64),
    /// A token was reserved.
    Conforming,
    /// No token was left; one will come in so many milliseconds, at least 1.
    ConformingInMs(u32),
    /// The number.
    Sequence(u64),
}

/// The request that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Its name, which makes counting it idempotent.
    pub request_id: RequestId,
    /// For which coupon.
    pub coupon_id: CouponId,
    /// Who asks.
    pub user_id: UserId,
    /// When it arrived; the clock of every window and bucket.
    pub arrived_at_ms: UnixMs,
}

/// What was measured, and what of it this call added, so that it can be given back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reserved {
    /// One answer a measure, in their order.
    pub measured: Vec<Measured>,
    /// Bit `i` is set when measure `i` counted this request or took a token for it.
    pub added: u32,
}

/// A policy may not ask for more: [`Reserved::added`] has a bit for each, and every one costs its time.
pub const MEASURES_MAX: usize = 16;

/// The counters are out of reach.
#[derive(Debug, thiserror::Error)]
#[error("counters are out of reach: {0}")]
pub struct Unavailable(pub String);

/// Measures requests. Every counter is atomic: of two requests that race for it, one is measured
/// after the other. A hook, a measure and what its [`Scope`] has in common name a counter.
pub trait Counters: Send + Sync + 'static {
    /// Takes all measures of a hook for one request, in one round trip; at most [`MEASURES_MAX`].
    fn reserve<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Reserved, Unavailable>>;

    /// Undoes what [`reserve`](Counters::reserve) added, for a request that was then refused or not
    /// appended: its counts are reserved out, its tokens put back. A sequence keeps its gap.
    ///
    /// `added` is what `reserve` answered, and is given back once.
    fn release<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
        added: u32,
    ) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// Takes requests that settlement rejected out of every count of a whole campaign, so that a
    /// user who was turned away may come again. Requests that were never counted are passed over.
    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// Whether they are in reach, and if not, why. Asks nobody.
    ///
    /// # Errors
    /// The reason.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether the gateway goes on while they are out of reach.
    fn is_optional(&self) -> bool {
        false
    }
}

/// Opens the counters that the URL names.
///
/// # Errors
/// [`OpenError`] when the options are wrong, a login is refused, or counters that the gateway may
/// not do without are out of reach.
pub async fn open(
    options: &Options,
    telemetry: &Telemetry,
) -> Result<(Arc<dyn Counters>, Option<Background>), OpenError> {
    let Some(server) = options.server()? else {
        telemetry.emit(CountersSeen { are_up: true });
        return Ok((Arc::new(local::Local::default()), None));
    };
    match options.on_unavailable {
        OnUnavailable::Pass => {
            let (redis, keeper) = redis::Redis::open_if_there(server, telemetry).await?;
            Ok((Arc::new(fail_open::FailOpen::new(redis)), Some(keeper)))
        }
        OnUnavailable::Refuse => {
            let (redis, keeper) = redis::Redis::open(server, telemetry).await?;
            Ok((Arc::new(redis), Some(keeper)))
        }
    }
}

/// Looks whether the options could be opened, without connecting anywhere.
///
/// # Errors
/// [`OpenError`] when they are wrong.
pub fn check(options: &Options) -> Result<(), OpenError> {
    options.server().map(|_| ())
}
