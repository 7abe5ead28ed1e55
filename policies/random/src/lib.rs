//! Picks a random shard, all with equal probability: the request's entropy modulo the number of shards.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    shards.at_modulo(request.entropy).shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{count_picks, request, requests, shards};

    use super::*;

    #[test]
    fn every_shard_is_picked_equally_often_whatever_its_stock() {
        let shards = shards(&[1, 0, 1_000_000, 5]);
        let counts = count_picks(&shards, requests(10_000), |request| decide(&NoConfig {}, request, &[], &shards));
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_single_shard_is_picked_for_every_entropy() {
        let shards = shards(&[0]);
        for entropy in [0, 1, u64::MAX] {
            assert_eq!(decide(&NoConfig {}, &request(1, entropy), &[], &shards), shards[0].shard_no);
        }
    }

    #[test]
    fn requests_with_the_same_entropy_get_the_same_shard() {
        let shards = shards(&[1; 12]);
        let pick = |user_id| decide(&NoConfig {}, &request(user_id, u64::MAX), &[], &shards);
        assert_eq!(pick(1), pick(2));
    }
}
