//! Published pipelines.

use crate::coupon::{CouponId, GenerationNo, UnixMs};

/// Older generations of the default pipeline are deleted. Enough for a rollback to any pipeline of the last days, few
/// enough that frequent changes do not fill the database.
pub(super) const GENERATIONS_MAX: u32 = 100;
/// The same for each coupon that has a pipeline of its own: there may be thousands.
pub(super) const GENERATIONS_OF_A_COUPON_MAX: u32 = 10;

/// A published pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRow {
    /// One more than the generation before it, whichever pipeline that one was of.
    pub number: GenerationNo,
    /// The coupon whose own pipeline it is; `None` is the default pipeline.
    pub coupon: Option<CouponId>,
    /// JSON; only the policy host interprets it. Empty if the pipeline has ended, and only its number is left.
    pub pipeline: String,
    pub published_at_ms: UnixMs,
}

impl GenerationRow {
    /// Whether only the number is left of a coupon's pipeline.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.pipeline.is_empty()
    }

    /// How many generations of its pipeline are kept.
    pub(super) fn kept_max(&self) -> u32 {
        if self.coupon.is_none() { GENERATIONS_MAX } else { GENERATIONS_OF_A_COUPON_MAX }
    }
}

/// As it is stored: 0 is the default pipeline.
pub(super) fn coupon_column(coupon: Option<CouponId>) -> i64 {
    coupon.map_or(0, CouponId::as_i64)
}
