//! A shard picker that declares millions of measures.

use serde::Deserialize;
use sluice_policy::shard_picker::Shard;
use sluice_policy::{Configuration, Measure, Measured, Request, Scope};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The number of measures. Each takes about 64 bytes of the guest's memory, so the default exceeds its limit.
    measures: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { measures: 4_000_000 }
    }
}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Sequence(Scope::Gateway); self.measures]
    }
}

fn decide(_: &Config, _: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
    shards[0].shard_no
}

sluice_policy::export_shard_picker!(Config, decide);
