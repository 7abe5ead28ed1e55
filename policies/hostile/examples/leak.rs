//! A shard picker that answers correctly and leaks 64 KiB with every call.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

const PAGE_BYTES: usize = 64 * 1024;

fn decide(_: &NoConfig, _: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    Vec::leak(std::hint::black_box(vec![1_u8; PAGE_BYTES]));
    shards[0].shard_no
}

sluice_policy::export_shard_picker!(NoConfig, decide);
