//! Two different shards at random, and of these the one with more stock that nobody waits for.
//!
//! Nearly as even as asking them all, and without the herd: gateways that see the same stale stock
//! do not all run to the same shard.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Random, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    let mut random = Random::new(request.entropy);
    let others = shards.len() as u64 - 1;
    let first = random.below(shards.len() as u64);
    let second = first + 1 + random.below(others);
    let (first, second) = (shards.counted_around(first), shards.counted_around(second));
    if second.available() > first.available() { second.shard_no } else { first.shard_no }
}

sluice_policy::export_shard_picker!(NoConfig, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{requests, shards, tally};

    use super::*;

    fn picks(shards: &[Shard]) -> Vec<u32> {
        tally(shards, requests(10_000), |request| decide(&NoConfig {}, request, &[], shards))
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
    fn stock_that_is_spoken_for_does_not_count() {
        let mut shards = shards(&[100, 10]);
        shards[0].unsettled = 95;
        assert_eq!(picks(&shards), [0, 10_000]);
        shards[0].unsettled = 1_000;
        assert_eq!(picks(&shards), [0, 10_000]);
    }

    #[test]
    fn the_two_candidates_differ_so_the_poorest_is_never_picked() {
        let tally = picks(&shards(&[30, 10, 20, 40]));
        assert_eq!(tally[1], 0, "{tally:?}");
    }

    #[test]
    fn the_better_stocked_is_picked_as_often_as_it_is_drawn() {
        // Of the pairs of four shards, 3 of 6 contain the best, 2 are won by the second, 1 by the third.
        let tally = picks(&shards(&[40, 30, 20, 10]));
        for (count, expected) in tally.into_iter().zip([5_000, 3_333, 1_667, 0_u32]) {
            assert!(count.abs_diff(expected) < 250, "{count} is far from {expected}");
        }
    }

    #[test]
    fn equal_shards_are_picked_equally_often() {
        let tally = picks(&shards(&[7; 5]));
        assert!(tally.iter().all(|count| (1_800..2_200).contains(count)), "{tally:?}");
    }
}
