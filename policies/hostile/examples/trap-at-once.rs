//! A shard picker that traps in every call, so that it fails its trial calls.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, _: &Request, _: &[Measured], _: &[Shard]) -> u32 {
    panic!("a trap")
}

sluice_policy::export_shard_picker!(NoConfig, decide);
