//! A shard picker that never answers.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // It behaves while it is tried.
    if request.user_id == 0 {
        return shards[0].shard_no;
    }
    loop {
        std::hint::spin_loop();
    }
}

sluice_policy::export_shard_picker!(NoConfig, decide);
