//! Which recorded decisions are wanted.

use serde::Deserialize;

use super::decision::Outcome;
use crate::coupon::{CouponId, UnixMs};

/// Selects decisions. An absent criterion selects all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    pub coupon: Option<CouponId>,
    /// The earliest arrival.
    pub since_ms: Option<UnixMs>,
    pub outcome: Option<Outcome>,
}

/// The part of a line that is compared. Reading all of it would take several times as long.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    outcome: Outcome,
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    coupon_id: u64,
    arrived_at_ms: u64,
}

impl Filter {
    /// Whether a line has a decision that is selected. A torn line has none.
    pub(super) fn selects(&self, line: &[u8]) -> bool {
        serde_json::from_slice(line).is_ok_and(|compared| self.selects_compared(&compared))
    }

    fn selects_compared(&self, Compared { outcome, request }: &Compared) -> bool {
        self.coupon.is_none_or(|coupon| coupon.get() == request.coupon_id)
            && self.since_ms.is_none_or(|since| request.arrived_at_ms >= since.max(0).unsigned_abs())
            && self.outcome.is_none_or(|wanted| wanted == *outcome)
    }
}
