//! Assigns each user to one shard (rendezvous hashing), whatever the coupon.
//!
//! Each shard gets a hash of the user and its number; the highest hash wins. So a new shard takes only the
//! users that move to it, and a removed shard moves only its own users. A modulo would move nearly all of them.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request, mix};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    let user = mix(request.user_id);
    let (_, shard_no) = shards
        .iter()
        .map(|shard| (mix(user ^ u64::from(shard.shard_no)), shard.shard_no))
        .max()
        .expect("the contract guarantees a shard");
    shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{count_picks, request, requests, shards};

    use super::*;

    fn pick(request: &Request, shards: &[Shard]) -> u32 {
        decide(&NoConfig {}, request, &[], shards)
    }

    #[test]
    fn a_user_keeps_the_same_shard_whatever_the_entropy_and_the_stock() {
        for user_id in 0..1_000 {
            assert_eq!(pick(&request(user_id, 1), &shards(&[5; 12])), pick(&request(user_id, 2), &shards(&[0; 12])));
        }
    }

    #[test]
    fn users_are_distributed_evenly() {
        let shards = shards(&[1; 4]);
        let counts = count_picks(&shards, requests(10_000), |request| pick(request, &shards));
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_removed_shard_moves_only_its_own_users() {
        let before = shards(&[1; 5]);
        let mut after = before.clone();
        let removed = after.remove(2);
        for request in requests(1_000) {
            let shard_no = pick(&request, &before);
            if shard_no != removed.shard_no {
                assert_eq!(pick(&request, &after), shard_no);
            }
        }
    }

    #[test]
    fn an_added_shard_moves_users_only_to_itself() {
        let after = shards(&[1; 5]);
        let before = &after[..4];
        let added = after[4].shard_no;
        for request in requests(1_000) {
            let shard_no = pick(&request, &after);
            assert!(shard_no == added || shard_no == pick(&request, before));
        }
    }

    #[test]
    fn a_single_shard_gets_every_user() {
        let shards = shards(&[0]);
        for user_id in [0, 1, u64::MAX] {
            assert_eq!(pick(&request(user_id, 1), &shards), shards[0].shard_no);
        }
    }

    #[test]
    fn the_assignment_is_the_same_in_every_release() {
        let assigned: Vec<u32> = requests(8).map(|request| pick(&request, &shards(&[1; 4]))).collect();
        assert_eq!(assigned, [3, 10, 10, 3, 17, 3, 17, 17]);
    }
}
