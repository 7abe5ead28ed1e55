//! A shard picker whose `configure` never returns.

use serde::Deserialize;
use sluice_policy::shard_picker::Shard;
use sluice_policy::{Configuration, Measure, Measured, Request};

#[derive(Deserialize)]
struct Config {}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        loop {
            std::hint::spin_loop();
        }
    }
}

fn decide(_: &Config, _: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    shards[0].shard_no
}

sluice_policy::export_shard_picker!(Config, decide);
