//! Picks a random shard, in proportion to its available stock, so that all shards run out at the same time.
//!
//! Without available stock, all shards have equal probability: settlement takes a coupon from any shard that
//! still has one before it rejects a request as sold out.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Random, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    let available = shards.iter().map(Shard::available).fold(0, u64::saturating_add);
    let mut remainder = Random::new(request.entropy).below(available);
    for shard in shards {
        match remainder.checked_sub(shard.available()) {
            Some(rest) => remainder = rest,
            None => return shard.shard_no,
        }
    }
    shards.at_modulo(request.entropy).shard_no
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
    fn a_shard_is_picked_in_proportion_to_its_stock() {
        let counts = picks(&shards(&[1_000, 3_000, 6_000]));
        for (count, expected) in counts.into_iter().zip([1_000, 3_000, 6_000_u32]) {
            assert!(count.abs_diff(expected) < 250, "{count} is far from {expected}");
        }
    }

    #[test]
    fn an_empty_shard_is_never_picked_while_another_has_stock() {
        assert_eq!(picks(&shards(&[0, 1, 0])), [0, 10_000, 0]);
    }

    #[test]
    fn stock_with_unsettled_requests_is_not_available() {
        let mut shards = shards(&[10, 10]);
        shards[0].unsettled = 11;
        assert_eq!(picks(&shards), [0, 10_000]);
    }

    #[test]
    fn empty_shards_are_picked_equally_often() {
        let counts = picks(&shards(&[0; 4]));
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_single_shard_is_picked_with_or_without_stock() {
        for stock in [0, 1, u64::MAX] {
            assert_eq!(picks(&shards(&[stock])), [10_000]);
        }
    }

    #[test]
    fn shards_with_only_unsettled_requests_are_picked_equally_often() {
        let mut shards = shards(&[10; 4]);
        shards.iter_mut().for_each(|shard| shard.unsettled = 10);
        let counts = picks(&shards);
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_sum_of_stock_beyond_64_bits_is_no_failure() {
        let counts = picks(&shards(&[u64::MAX / 2, u64::MAX / 2, u64::MAX]));
        assert_eq!(counts.iter().sum::<u32>(), 10_000);
        assert!(counts[0] > 4_000 && counts[1] > 4_000, "{counts:?}");
    }
}
