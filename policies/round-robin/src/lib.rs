//! Picks the shards of a coupon in turn: its first request gets the first shard, its second the second.

use sluice_policy::shard_picker::Shard;
use sluice_policy::{Configuration, Measure, Measured, Measurements, Request, Scope, ShardList};

/// Has no keys. It is not [`sluice_policy::NoConfig`], because that declares no measure.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Configuration for Config {
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Sequence(Scope::Coupon)]
    }
}

fn decide(_: &Config, _: &Request, measured: &[Measured], shards: &[Shard]) -> u32 {
    shards.at_modulo(measured.sequence(0)).shard_no
}

sluice_policy::export_shard_picker!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{request, shards};

    use super::*;

    fn pick(number: u64, shards: &[Shard]) -> u32 {
        decide(&Config {}, &request(1, 1), &[Measured::Sequence(number)], shards)
    }

    #[test]
    fn the_shards_are_picked_in_turn() {
        let shards = shards(&[1; 3]);
        let picked: Vec<u32> = (0..7).map(|number| pick(number, &shards)).collect();
        assert_eq!(picked, [3, 10, 17, 3, 10, 17, 3]);
    }

    #[test]
    fn any_number_picks_a_shard_whatever_their_count() {
        for count in 1..5 {
            let shards = shards(&vec![0; count]);
            for number in [0, 1, u64::from(u32::MAX), u64::MAX] {
                let picked = pick(number, &shards);
                assert!(shards.iter().any(|shard| shard.shard_no == picked), "{number}");
            }
        }
    }

    #[test]
    fn every_key_is_rejected() {
        let error = parse_config::<Config>(r#"{"start": 1}"#).expect_err("an unknown key");
        assert!(error.starts_with("start: unknown field `start`"), "{error}");
    }

    #[test]
    fn each_coupon_has_its_own_turn() {
        assert_eq!(Config {}.measures(), [Measure::Sequence(Scope::Coupon)]);
    }
}
