//! A shard picker that never answers.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, _: &Request, _: &[Measured], _: &[Shard]) -> u32 {
    loop {
        std::hint::spin_loop();
    }
}

sluice_policy::export_shard_picker!(NoConfig, decide);
