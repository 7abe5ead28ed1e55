//! One user, one shard, whatever the coupon, for as long as the shard exists.
//!
//! Every shard bids for the user with a hash of the two and the highest bid wins (rendezvous
//! hashing). A new shard takes users away from the others and moves nobody else; one that goes
//! leaves its users to the others and moves nobody else.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request, mix};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    let user = mix(request.user_id);
    let (_, shard_no) = shards
        .iter()
        .map(|shard| (mix(user ^ u64::from(shard.shard_no)), shard.shard_no))
        .max()
        .expect("there is a shard");
    shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{request, requests, shards, tally};

    use super::*;

    fn pick(request: &Request, shards: &[Shard]) -> u32 {
        decide(&NoConfig {}, request, &[], shards)
    }

    #[test]
    fn a_user_stays_with_a_shard_whatever_the_entropy_and_the_stock() {
        for user_id in 0..1_000 {
            assert_eq!(pick(&request(user_id, 1), &shards(&[5; 12])), pick(&request(user_id, 2), &shards(&[0; 12])),);
        }
    }

    #[test]
    fn the_users_are_spread_evenly() {
        let shards = shards(&[1; 4]);
        let tally = tally(&shards, requests(10_000), |request| pick(request, &shards));
        assert!(tally.iter().all(|count| (2_300..2_700).contains(count)), "{tally:?}");
    }

    #[test]
    fn a_shard_that_goes_moves_only_its_own_users() {
        let before = shards(&[1; 5]);
        let mut after = before.clone();
        let gone = after.remove(2);
        for request in requests(1_000) {
            let home = pick(&request, &before);
            if home != gone.shard_no {
                assert_eq!(pick(&request, &after), home);
            }
        }
    }

    #[test]
    fn the_placement_is_the_same_in_every_release() {
        let placed: Vec<u32> = requests(8).map(|request| pick(&request, &shards(&[1; 4]))).collect();
        assert_eq!(placed, [3, 10, 10, 3, 17, 3, 17, 17]);
    }
}
