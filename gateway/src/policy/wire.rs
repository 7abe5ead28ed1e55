//! The types of `wit/policy.wit`, as they cross into a guest and back.

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::counters::{Measure, Measured, Scope};

/// One request for a coupon.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct Request {
    /// For which coupon.
    #[component(name = "coupon-id")]
    pub coupon_id: u64,
    /// The terms that it was made from.
    #[component(name = "policy-id")]
    pub policy_id: u64,
    /// Who asks.
    #[component(name = "user-id")]
    pub user_id: u64,
    /// Milliseconds since 1970.
    #[component(name = "arrived-at-ms")]
    pub arrived_at_ms: u64,
    /// 64 uniform bits, the same for a retry.
    pub entropy: u64,
}

/// How busy this gateway is.
#[derive(Debug, Clone, Copy, Default, ComponentType, Lower)]
#[component(record)]
pub struct Load {
    /// Requests on their way.
    #[component(name = "in-flight")]
    pub in_flight: u32,
    /// Requests a second.
    #[component(name = "arrivals-per-second")]
    pub arrivals_per_second: f64,
    /// Coupons a second.
    #[component(name = "grants-per-second")]
    pub grants_per_second: f64,
    /// Records that are not settled.
    #[component(name = "lag-records")]
    pub lag_records: u64,
    /// The age of the oldest of them.
    #[component(name = "lag-seconds")]
    pub lag_seconds: f64,
}

/// The campaign as it was last seen.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct Usage {
    /// What the ledger will hold.
    #[component(name = "per-user-limit")]
    pub per_user_limit: u32,
    /// How many there are.
    pub total: u64,
    /// How many are left.
    pub remaining: u64,
}

/// A shard as it was last seen.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct Shard {
    /// Which one.
    #[component(name = "shard-no")]
    pub shard_no: u32,
    /// Stock when it was last settled.
    pub remaining: u64,
    /// Accepted and not settled.
    pub unsettled: u64,
    /// Records not settled in its partition.
    #[component(name = "lag-records")]
    pub lag_records: u64,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct Rejection {
    /// A word for programs.
    pub code: String,
    /// When to come back, in milliseconds.
    #[component(name = "retry-after-ms")]
    pub retry_after_ms: Option<u32>,
}

impl Rejection {
    /// Whether the code is a word that may go into a header and a metric's log line.
    pub(super) fn is_valid(&self) -> bool {
        let code = self.code.as_bytes();
        code.len() <= 64
            && code.first().is_some_and(u8::is_ascii_uppercase)
            && code.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    }
}

/// A rate shaper's verdict.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub enum Shaping {
    /// Go on.
    #[component(name = "pass")]
    Pass,
    /// Go on after so many milliseconds.
    #[component(name = "delay")]
    Delay(u32),
    /// Not now.
    #[component(name = "shed")]
    Shed(Rejection),
}

impl Shaping {
    pub(super) fn is_valid(&self) -> bool {
        !matches!(self, Self::Shed(rejection) if !rejection.is_valid())
    }
}

/// A user limit's verdict.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub enum LimitVerdict {
    /// They may.
    #[component(name = "admit")]
    Admit,
    /// They may not.
    #[component(name = "refuse")]
    Refuse(Rejection),
}

impl LimitVerdict {
    pub(super) fn is_valid(&self) -> bool {
        !matches!(self, Self::Refuse(rejection) if !rejection.is_valid())
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only guests make them; they are lifted by their number")]
pub(super) enum WireScope {
    #[component(name = "user-of-coupon")]
    UserOfCoupon,
    #[component(name = "user")]
    User,
    #[component(name = "coupon")]
    Coupon,
    #[component(name = "gateway")]
    Gateway,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(super) struct Window {
    scope: WireScope,
    #[component(name = "length-ms")]
    length_ms: u64,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(super) struct Rate {
    scope: WireScope,
    requests: u32,
    #[component(name = "per-ms")]
    per_ms: u32,
    burst: u32,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(variant)]
pub(super) enum WireMeasure {
    #[component(name = "count")]
    Count(Window),
    #[component(name = "bucket")]
    Bucket(Rate),
    #[component(name = "sequence")]
    Sequence(WireScope),
}

impl WireMeasure {
    /// The measure; `None` for a rate with a zero in it.
    pub(super) fn to_measure(self) -> Option<Measure> {
        Some(match self {
            Self::Count(window) => Measure::Count { scope: window.scope.into(), window_ms: window.length_ms },
            Self::Bucket(rate) => Measure::Bucket {
                scope: rate.scope.into(),
                requests: rate.requests.try_into().ok()?,
                per_ms: rate.per_ms.try_into().ok()?,
                burst: rate.burst.try_into().ok()?,
            },
            Self::Sequence(scope) => Measure::Sequence { scope: scope.into() },
        })
    }
}

impl From<WireScope> for Scope {
    fn from(scope: WireScope) -> Self {
        match scope {
            WireScope::UserOfCoupon => Self::UserOfCoupon,
            WireScope::User => Self::User,
            WireScope::Coupon => Self::Coupon,
            WireScope::Gateway => Self::Gateway,
        }
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(variant)]
pub(super) enum BucketState {
    #[component(name = "conforming")]
    Conforming,
    #[component(name = "conforming-in-ms")]
    ConformingInMs(u32),
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(variant)]
pub(super) enum WireMeasured {
    #[component(name = "count")]
    Count(u64),
    #[component(name = "bucket")]
    Bucket(BucketState),
    #[component(name = "sequence")]
    Sequence(u64),
}

impl WireMeasured {
    /// What the first request of all would be answered.
    pub(super) fn first(measure: &Measure) -> Self {
        match measure {
            Measure::Count { .. } => Self::Count(1),
            Measure::Bucket { .. } => Self::Bucket(BucketState::Conforming),
            Measure::Sequence { .. } => Self::Sequence(0),
        }
    }
}

impl From<&Measured> for WireMeasured {
    fn from(measured: &Measured) -> Self {
        match *measured {
            Measured::Count(count) => Self::Count(count),
            Measured::Conforming => Self::Bucket(BucketState::Conforming),
            Measured::ConformingInMs(ms) => Self::Bucket(BucketState::ConformingInMs(ms)),
            Measured::Sequence(number) => Self::Sequence(number),
        }
    }
}
