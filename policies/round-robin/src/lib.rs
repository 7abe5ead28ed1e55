//! The shards in turn: the coupon's first request to the first shard, its second to the second.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Answers, Configuration, Measure, Measured, Request, Scope, ShardList};

/// Takes no keys.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Sequence(Scope::Coupon)]
    }
}

fn decide(_: &Config, _: &Request, measured: &[Measured], shards: &[Shard]) -> u32 {
    shards.counted_around(measured.sequence(0)).shard_no
}

sluice_policy::export_shard_picker!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::testing::{request, shards};

    use super::*;

    #[test]
    fn the_shards_come_in_turn() {
        let shards = shards(&[1; 3]);
        let picked: Vec<u32> = (0..7)
            .map(|number| {
                let measured = [Measured::Sequence(number)];
                decide(&Config {}, &request(1, 1), &measured, &shards)
            })
            .collect();
        assert_eq!(picked, [3, 10, 17, 3, 10, 17, 3]);
    }

    #[test]
    fn every_coupon_has_its_own_turns() {
        assert_eq!(Config {}.measures(), [Measure::Sequence(Scope::Coupon)]);
    }
}
