//! The native defaults, which decide when a policy fails. They use only the measures that the policy declared.

use super::wire::{LimitVerdict, Rejection, Request, Shaping, Shard, Usage};
use crate::counters::{Measure, Measured, Scope};
use crate::coupon::ShardNo;

/// Sheds a request if one of the policy's buckets has no token for it.
pub(super) fn shape(measured: &[Measured]) -> Shaping {
    let wait = measured.iter().filter_map(|measured| match measured {
        Measured::ConformingInMs(ms) => Some(*ms),
        _ => None,
    });
    wait.max().map_or(Shaping::Pass, |ms| Shaping::Shed(Rejection::new("RATE_LIMITED", Some(ms))))
}

/// Refuses a user whose count for the whole campaign exceeds the campaign's limit.
pub(super) fn admit(measures: &[Measure], measured: &[Measured], usage: &Usage) -> LimitVerdict {
    let over = measures.iter().zip(measured).any(|pair| match pair {
        (Measure::Count { scope: Scope::UserOfCoupon, window_ms: 0 }, Measured::Count(count)) => {
            *count > u64::from(usage.per_user_limit)
        }
        _ => false,
    });
    if over { LimitVerdict::Refuse(Rejection::new("USER_LIMIT", None)) } else { LimitVerdict::Admit }
}

/// By a hash of the user, so that a user always gets the same shard.
pub(super) fn pick(request: &Request, shards: &[Shard]) -> ShardNo {
    let hash = request.user_id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    let place = (hash % shards.len().max(1) as u64) as usize;
    ShardNo(shards.get(place).map_or(0, |shard| shard.shard_no))
}
