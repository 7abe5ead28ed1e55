//! Why a request is not accepted.

use crate::counters::Hook;
use crate::coupon::{PolicyId, UnixMs};
use crate::ledger::LedgerError;
use crate::log::AppendError;
use crate::policy::{PolicyUnavailable, Quota, Rejection};

/// Why a request is not accepted. Nothing is recorded for it. The message is the problem detail that the
/// client gets, so it has no cause.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no campaign exists for this coupon")]
    CouponNotFound,
    /// The coupon's terms have another `policyId`.
    #[error("`policyId`: expected {expected}, the policyId of this coupon")]
    OtherPolicy { expected: PolicyId },
    #[error("the campaign is not open yet: retry after its opening time")]
    NotOpen { opens_at_ms: UnixMs },
    #[error("the campaign is paused: retry later")]
    Paused,
    #[error("the campaign is closed")]
    Closed,
    #[error("sold out: no coupons are left")]
    SoldOut,
    /// A policy rejected the request.
    #[error("rejected by the {} policy: {}", hook.as_str(), rejection.code)]
    Policy {
        hook: Hook,
        rejection: Rejection,
        /// The rate that the policy declared, if it declared one.
        quota: Option<Quota>,
    },
    #[error("this Idempotency-Key was used for a different request: use a new key")]
    IdempotencyConflict,
    #[error("too many requests in progress: retry later")]
    Overloaded,
    /// The request could not be made durable.
    #[error("the log is unavailable: retry later")]
    LogUnavailable(AppendError),
    /// The ledger could not tell the remaining stock, or whether the request was accepted when the campaign was open.
    #[error("the ledger is unavailable: retry later")]
    LedgerUnavailable(#[source] LedgerError),
    /// A policy failed, and `on_failure` of its hook is `refuse`.
    #[error("the {} policy failed: retry later", .0.hook.as_str())]
    PolicyUnavailable(PolicyUnavailable),
}
