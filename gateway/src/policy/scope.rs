//! Which requests a pipeline decides about.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::coupon::CouponId;

/// The requests that a pipeline decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those of all coupons, except for the hooks that a coupon sets itself.
    Default,
    /// Those of one coupon.
    Coupon(CouponId),
}

impl Scope {
    /// The coupon, if it is one's own pipeline.
    #[must_use]
    pub const fn coupon(self) -> Option<CouponId> {
        match self {
            Self::Default => None,
            Self::Coupon(coupon) => Some(coupon),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::Coupon(coupon) => write!(f, "coupon {coupon}"),
        }
    }
}
