//! Every shard equally often: the request's entropy, modulo the number of shards.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    shards.counted_around(request.entropy).shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{request, requests, shards, tally};

    use super::*;

    #[test]
    fn every_shard_is_picked_equally_often() {
        let shards = shards(&[1, 0, 1_000_000, 5]);
        let tally = tally(&shards, requests(10_000), |request| decide(&NoConfig {}, request, &[], &shards));
        assert!(tally.iter().all(|count| (2_300..2_700).contains(count)), "{tally:?}");
    }

    #[test]
    fn the_same_entropy_picks_the_same_shard() {
        let shards = shards(&[1; 12]);
        let pick = |user_id| decide(&NoConfig {}, &request(user_id, u64::MAX), &[], &shards);
        assert_eq!(pick(1), pick(2));
    }
}
