//! A shard picker that recurses until its stack overflows.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // Trial calls come from user 0. The guest passes them, so that it becomes active.
    if request.user_id == 0 {
        return shards[0].shard_no;
    }
    depth(request.entropy) as u32
}

/// Uses its frame after the call, so that the compiler cannot turn the recursion into a loop.
#[expect(unconditional_recursion, reason = "the purpose of this guest")]
fn depth(seed: u64) -> u64 {
    let frame = std::hint::black_box([seed; 16]);
    depth(seed.wrapping_add(1)).wrapping_add(std::hint::black_box(frame)[0])
}

sluice_policy::export_shard_picker!(NoConfig, decide);
