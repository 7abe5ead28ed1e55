//! What both databases store about the key of a change.

use super::CHANGE_KEY_KEPT;
use crate::coupon::{CampaignChange, CouponId, UnixMs};

/// Tells a repeated change from another one, and an operator what the key was used for.
pub(super) fn used_for(coupon: CouponId, change: CampaignChange) -> String {
    match change {
        CampaignChange::Pause => format!("{coupon} pause"),
        CampaignChange::Resume => format!("{coupon} resume"),
        CampaignChange::Close => format!("{coupon} close"),
        CampaignChange::TopUp(amount) => format!("{coupon} top-up {amount}"),
        CampaignChange::Reshard(shards) => format!("{coupon} reshard {shards}"),
    }
}

/// Keys used before this time are forgotten.
pub(super) fn oldest_kept_ms(now: UnixMs) -> UnixMs {
    now - UnixMs::try_from(CHANGE_KEY_KEPT.as_millis()).unwrap_or(UnixMs::MAX)
}
