//! Facts for the tests of a policy.

use crate::rate_shaper::Load;
use crate::shard_picker::Shard;
use crate::user_limit::Usage;
use crate::{Random, Request};

/// A request of this user that came with this entropy.
#[must_use]
pub fn request(user_id: u64, entropy: u64) -> Request {
    Request { coupon_id: 104, policy_id: 21, user_id, arrived_at_ms: 1_767_225_600_000, entropy }
}

/// So many requests, each of another user and with other entropy, the same in every run.
pub fn requests(count: u64) -> impl Iterator<Item = Request> {
    let mut random = Random::new(count);
    (0..count).map(move |user_id| request(user_id, random.bits()))
}

/// A gateway whose settlement is so far behind.
#[must_use]
pub fn load(lag_seconds: f64) -> Load {
    Load {
        in_flight: 10,
        arrivals_per_second: 1_000.0,
        grants_per_second: 1_000.0,
        lag_records: (lag_seconds * 1_000.0) as u64,
        lag_seconds,
    }
}

/// A campaign that has just begun.
#[must_use]
pub fn usage() -> Usage {
    Usage { per_user_limit: 1, total: 10_000, remaining: 10_000 }
}

/// Shards with this much stock and nothing unsettled. Their numbers are 3, 10, 17, …, so that a
/// policy which takes an index for a number is found out.
#[must_use]
pub fn shards(stock: &[u64]) -> Vec<Shard> {
    (3..)
        .step_by(7)
        .zip(stock)
        .map(|(shard_no, &remaining)| Shard { shard_no, remaining, unsettled: 0, lag_records: 0 })
        .collect()
}

/// How many of the requests each shard gets, in the order of the shards.
///
/// # Panics
///
/// When `pick` answers a shard that is not in the list.
pub fn tally(
    shards: &[Shard],
    requests: impl Iterator<Item = Request>,
    mut pick: impl FnMut(&Request) -> u32,
) -> Vec<u32> {
    let mut tally = vec![0; shards.len()];
    for request in requests {
        let shard_no = pick(&request);
        let index = shards
            .iter()
            .position(|shard| shard.shard_no == shard_no)
            .unwrap_or_else(|| panic!("shard {shard_no} is not in the list"));
        tally[index] += 1;
    }
    tally
}
