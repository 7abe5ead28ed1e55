//! A shard picker that has never picked anything.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, _: &Request, _: &[Measured], _: &[Shard]) -> u32 {
    panic!("a trap")
}

sluice_policy::export_shard_picker!(NoConfig, decide);
