//! Every shard in proportion to its stock that nobody waits for, so that all run dry together.
//!
//! Where all are dry, every shard equally often: settlement looks for stock everywhere before it
//! says that there is none.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Random, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    let available = shards.iter().map(Shard::available).fold(0, u64::saturating_add);
    let mut place = Random::new(request.entropy).below(available);
    for shard in shards {
        match place.checked_sub(shard.available()) {
            Some(beyond) => place = beyond,
            None => return shard.shard_no,
        }
    }
    shards.counted_around(request.entropy).shard_no
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
    fn a_shard_is_picked_in_proportion_to_its_stock() {
        let tally = picks(&shards(&[1_000, 3_000, 6_000]));
        for (count, expected) in tally.into_iter().zip([1_000, 3_000, 6_000_u32]) {
            assert!(count.abs_diff(expected) < 250, "{count} is far from {expected}");
        }
    }

    #[test]
    fn an_empty_shard_is_never_picked_while_another_has_stock() {
        assert_eq!(picks(&shards(&[0, 1, 0])), [0, 10_000, 0]);
    }

    #[test]
    fn stock_that_is_spoken_for_does_not_count() {
        let mut shards = shards(&[10, 10]);
        shards[0].unsettled = 11;
        assert_eq!(picks(&shards), [0, 10_000]);
    }

    #[test]
    fn empty_shards_are_picked_equally_often() {
        let tally = picks(&shards(&[0; 4]));
        assert!(tally.iter().all(|count| (2_300..2_700).contains(count)), "{tally:?}");
    }

    #[test]
    fn more_stock_than_a_sum_can_hold_is_still_shared_out() {
        let tally = picks(&shards(&[u64::MAX / 2, u64::MAX / 2, u64::MAX]));
        assert_eq!(tally.iter().sum::<u32>(), 10_000);
        assert!(tally[0] > 4_000 && tally[1] > 4_000, "{tally:?}");
    }
}
