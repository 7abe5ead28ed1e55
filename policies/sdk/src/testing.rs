//! Arguments for the native tests of a policy.

use crate::rate_shaper::Load;
use crate::shard_picker::Shard;
use crate::user_limit::Usage;
use crate::{Random, Request};

/// A request of this user with this entropy.
#[must_use]
pub fn request(user_id: u64, entropy: u64) -> Request {
    Request { coupon_id: 104, policy_id: 21, user_id, arrived_at_ms: 1_767_225_600_000, entropy }
}

/// `count` requests of different users with different entropy. They are the same in every run.
pub fn requests(count: u64) -> impl Iterator<Item = Request> {
    let mut random = Random::new(count);
    (0..count).map(move |user_id| request(user_id, random.bits()))
}

/// The load of a gateway whose settlement lags by this many seconds, at 1,000 requests per second.
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

/// A campaign without grants: 10,000 coupons, one per user.
#[must_use]
pub fn usage() -> Usage {
    Usage { per_user_limit: 1, total: 10_000, remaining: 10_000 }
}

/// One shard per element of `stock`, with nothing unsettled.
///
/// Their numbers are 3, 10, 17, …, so that a policy which returns an index instead of a number fails its test.
#[must_use]
pub fn shards(stock: &[u64]) -> Vec<Shard> {
    (3..)
        .step_by(7)
        .zip(stock)
        .map(|(shard_no, &remaining)| Shard { shard_no, remaining, unsettled: 0, lag_records: 0 })
        .collect()
}

/// How often `pick` returns each shard, in the order of `shards`.
///
/// # Panics
///
/// If `pick` returns a number that no shard has.
pub fn count_picks(
    shards: &[Shard],
    requests: impl Iterator<Item = Request>,
    mut pick: impl FnMut(&Request) -> u32,
) -> Vec<u32> {
    let mut counts = vec![0; shards.len()];
    for request in requests {
        let shard_no = pick(&request);
        let index = shards
            .iter()
            .position(|shard| shard.shard_no == shard_no)
            .unwrap_or_else(|| panic!("shard {shard_no} is not in the list"));
        counts[index] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "shard 0 is not in the list")]
    fn an_index_in_place_of_a_shard_number_fails_the_test() {
        count_picks(&shards(&[1; 4]), requests(1), |_| 0);
    }
}
