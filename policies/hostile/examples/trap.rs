//! A shard picker that traps for every user, except in its trial calls.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // Trial calls come from user 0. The guest passes them, so that it becomes active.
    if request.user_id == 0 {
        return shards[0].shard_no;
    }
    panic!("a trap")
}

sluice_policy::export_shard_picker!(NoConfig, decide);
