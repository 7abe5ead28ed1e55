//! A shard picker that calls itself without end.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    // It behaves while it is tried.
    if request.user_id == 0 {
        return shards[0].shard_no;
    }
    depth(request.entropy) as u32
}

/// Keeps something of every call, so that it cannot become a loop.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn depth(seed: u64) -> u64 {
    let frame = std::hint::black_box([seed; 16]);
    depth(seed.wrapping_add(1)).wrapping_add(std::hint::black_box(frame)[0])
}

sluice_policy::export_shard_picker!(NoConfig, decide);
