//! A shard picker that traps for every tenth user and picks a random shard for the others.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request, ShardList};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // Trial calls come from user 0.
    assert!(request.user_id == 0 || !request.user_id.is_multiple_of(10), "a trap");
    shards.at_modulo(request.entropy).shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);
