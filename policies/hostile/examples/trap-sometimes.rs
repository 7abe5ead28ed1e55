//! A shard picker that traps for one user in ten, and answers the others at random.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // User 0 asks while it is tried.
    assert!(request.user_id == 0 || !request.user_id.is_multiple_of(10), "a trap");
    shards.counted_around(request.entropy).shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);
