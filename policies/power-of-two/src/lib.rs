//! Draws two different shards at random and picks the one with more available stock.
//!
//! The stock that a gateway knows may be stale. If every gateway picked the best shard of all, they would all
//! pick the same one. Two random candidates avoid that, and keep the stock nearly as even.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Random, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    let mut random = Random::new(request.entropy);
    let length = shards.len() as u64;
    let first = random.below(length);
    // An offset from 1 to length - 1 never leads back to the first, unless it is the only shard.
    let second = first + 1 + random.below(length - 1);
    let (first, second) = (shards.at_modulo(first), shards.at_modulo(second));
    if second.available() > first.available() { second.shard_no } else { first.shard_no }
}

sluice_policy::export_shard_picker!(NoConfig, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{count_picks, requests, shards};

    use super::*;

    fn picks(shards: &[Shard]) -> Vec<u32> {
        count_picks(shards, requests(10_000), |request| decide(&NoConfig {}, request, &[], shards))
    }

    #[test]
    fn the_only_shard_is_picked() {
        assert_eq!(picks(&shards(&[0])), [10_000]);
    }

    #[test]
    fn of_two_shards_the_one_with_more_stock_is_always_picked() {
        assert_eq!(picks(&shards(&[5, 6])), [0, 10_000]);
        assert_eq!(picks(&shards(&[6, 5])), [10_000, 0]);
    }

    #[test]
    fn stock_with_unsettled_requests_is_not_available() {
        let mut shards = shards(&[100, 10]);
        shards[0].unsettled = 95;
        assert_eq!(picks(&shards), [0, 10_000]);
        shards[0].unsettled = 1_000;
        assert_eq!(picks(&shards), [0, 10_000]);
    }

    #[test]
    fn the_shard_with_the_least_stock_is_never_picked_because_the_candidates_differ() {
        let counts = picks(&shards(&[30, 10, 20, 40]));
        assert_eq!(counts[1], 0, "{counts:?}");
    }

    #[test]
    fn a_shard_is_picked_in_every_pair_in_which_it_has_more_stock() {
        // Four shards make six pairs: the first has more stock in 3 of them, the second in 2, the third in 1.
        let counts = picks(&shards(&[40, 30, 20, 10]));
        for (count, expected) in counts.into_iter().zip([5_000, 3_333, 1_667, 0_u32]) {
            assert!(count.abs_diff(expected) < 250, "{count} is far from {expected}");
        }
    }

    #[test]
    fn equal_shards_are_picked_equally_often() {
        for stock in [7, 0, u64::MAX] {
            let counts = picks(&shards(&[stock; 5]));
            assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        }
    }
}
