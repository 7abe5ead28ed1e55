//! A shard picker that always returns shard 0, whether it exists or not.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, _: &Request, _: &[Measured], _: &[Shard]) -> u32 {
    0
}

sluice_policy::export_shard_picker!(NoConfig, decide);
