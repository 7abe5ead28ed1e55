//! A shard picker that allocates memory up to its limit.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

const PAGE_BYTES: usize = 64 * 1024;

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // Trial calls come from user 0. The guest passes them, so that it becomes active.
    if request.user_id == 0 {
        return shards[0].shard_no;
    }
    loop {
        Vec::leak(std::hint::black_box(vec![1_u8; PAGE_BYTES]));
    }
}

sluice_policy::export_shard_picker!(NoConfig, decide);
