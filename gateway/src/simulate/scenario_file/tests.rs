use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const PARTITIONS: u32 = 12;

/// The form of the load tests' file.
fn file() -> Value {
    json!({
        "drop": {
            "about": "A drop.", "compares": ["pickers"], "waitingOneOf": 1,
            "load": { "executor": "constant-arrival-rate", "rate": 100, "duration": "2s", "preAllocatedVUs": 300 },
            "crowd": { "users": 90 },
            "total": 30,
            "shards": 12,
            "full": { "total": 3000 }
        },
        "campaigns": { "extends": "drop", "campaigns": 3, "total": 10 },
        "ramp": {
            "load": {
                "executor": "ramping-vus", "startVUs": 0,
                "stages": [{ "duration": "2s", "target": 10 }, { "duration": "2s", "target": 0 }]
            },
            "thinkSeconds": 0.1, "crowd": { "users": 5, "zipf": 1.1, "retries": 0.2, "bots": 2, "botShare": 0.5 },
            "total": 10, "shards": 1, "perUserLimit": 1000
        },
    })
}

fn read(file: &Value, name: &str, full: bool) -> Result<Scenario, String> {
    let file = ScenarioFile::parse(&file.to_string()).expect("an object");
    file.scenario(Some(name), full, PARTITIONS).map(|(_, scenario)| scenario).map_err(|error| error.to_string())
}

#[test]
fn a_scenario_of_the_load_tests_is_read() {
    let drop = read(&file(), "drop", false).expect("valid");
    assert_eq!((drop.requests(), drop.measured(), drop.campaigns.len()), (200, 1, 1));
    let NewCampaign { total, shards, per_user_limit, .. } = drop.campaigns[0];
    assert_eq!((total, shards, per_user_limit), (30, 12, 1));
    assert_eq!(read(&file(), "drop", true).expect("valid").campaigns[0].total, 3000);
}

#[test]
fn a_scenario_has_the_fields_of_the_one_that_it_extends_and_its_own() {
    let campaigns = read(&file(), "campaigns", false).expect("valid");
    assert_eq!((campaigns.measured(), campaigns.campaigns[2].total, campaigns.requests()), (3, 10, 200));
    assert_eq!(read(&file(), "campaigns", true).expect("valid").campaigns[0].total, 10, "its own field wins");
}

#[test]
fn virtual_users_are_a_rate_of_requests() {
    let ramp = read(&file(), "ramp", false).expect("valid");
    // From 0 to 100 requests a second in 2 s, and back.
    assert_eq!((ramp.requests(), ramp.campaigns[0].per_user_limit), (200, 1000));
}

#[test]
fn a_flood_is_a_campaign_in_the_partition_of_the_first_shard() {
    let mut file = file();
    file["drop"]["flood"] = json!({ "executor": "constant-arrival-rate", "rate": 50, "duration": "2s" });
    let drop = read(&file, "drop", false).expect("valid");
    assert_eq!((drop.measured(), drop.campaigns.len(), drop.requests()), (1, 2, 300));
    let partition = |campaign: &NewCampaign| PartitionNo::of(campaign.coupon_id, ShardNo(0), PARTITIONS);
    assert_eq!(partition(&drop.campaigns[0]), partition(&drop.campaigns[1]));
    assert!(drop.arrivals(1).any(|arrival| arrival.campaign == 1 && arrival.at > Duration::from_secs(1)));
}

#[test]
fn a_wrong_field_is_named_with_what_was_expected() {
    let wrong = |pointer: &str, value: Value| {
        let mut file = file();
        let (parent, field) = pointer.rsplit_once('/').expect("a path");
        file.pointer_mut(parent).expect("an object")[field] = value;
        let name = pointer.split('/').nth(1).expect("a scenario");
        read(&file, name, pointer.ends_with("/full")).expect_err(pointer)
    };
    for (pointer, value, message) in [
        ("/drop/shards", json!(0), "drop.shards: expected a whole number from 1 to 256, found 0"),
        (
            "/drop/total",
            json!("x"),
            "drop.total: invalid type: string \"x\", expected a whole number from 1 to 1000000000000",
        ),
        ("/drop/full", json!({ "total": 0 }), "drop.total: expected a whole number from 1 to 1000000000000, found 0"),
        ("/drop/full", json!(1), "drop.full: expected fields of a scenario"),
        ("/drop/load/rate", json!(-1), "drop.load.rate: expected a number from 0 up, found -1"),
        (
            "/drop/load/rate",
            json!(0),
            "drop.load: expected `rate` and `duration` above 0, found a load without requests",
        ),
        ("/drop/load/rate", json!(1e9), "drop.load: expected at most 10000000 requests, found 2000000000"),
        (
            "/drop/load/duration",
            json!("soon"),
            "drop.load.duration: expected a duration such as `1m30s` or `500ms`, found `soon`",
        ),
        ("/drop/load/timeUnit", json!("0s"), "drop.load.timeUnit: expected more than 0"),
        ("/drop/crowd/zipf", json!(1), "drop.crowd.zipf: expected a number above 0 other than 1, found 1"),
        ("/drop/crowd/retries", json!(2), "drop.crowd.retries: expected a number from 0 to 1, found 2"),
        (
            "/campaigns/extends",
            json!("drip"),
            "campaigns.extends: expected another scenario of the file, without a cycle",
        ),
        (
            "/campaigns/extends",
            json!("campaigns"),
            "campaigns.extends: expected another scenario of the file, without a cycle",
        ),
        (
            "/ramp/thinkSeconds",
            json!(0),
            "ramp.thinkSeconds: expected more than 0: it turns virtual users into requests per second",
        ),
        ("/ramp/load/stages", json!([{ "duration": "2s" }]), "ramp.load.stages[0]: missing field `target`"),
    ] {
        assert_eq!(wrong(pointer, value), message);
    }
    let unknown = wrong("/drop/shard", json!(4));
    assert!(unknown.starts_with("drop.shard: unknown field `shard`, expected one of `load`, "), "{unknown}");
    let executor = wrong("/drop/load/executor", json!("per-vu-iterations"));
    assert!(executor.starts_with("drop.load.executor: unknown variant `per-vu-iterations`, expected "), "{executor}");
}

#[test]
fn one_scenario_of_several_must_be_chosen() {
    let choose = |file: Value, name| {
        let file = ScenarioFile::parse(&file.to_string()).expect("an object");
        file.scenario(name, false, PARTITIONS).map(|(name, _)| name).map_err(|error| error.to_string())
    };
    let several = "several scenarios: choose one with --scenario: campaigns, drop, ramp";
    assert_eq!(choose(file(), None), Err(several.to_owned()));
    let unknown = "unknown scenario `drip`: expected one of campaigns, drop, ramp";
    assert_eq!(choose(file(), Some("drip")), Err(unknown.to_owned()));
    let only = json!({ "ramp": file()["ramp"] });
    assert_eq!(choose(only, None), Ok("ramp".to_owned()));
    assert_eq!(choose(json!({}), None), Err("no scenario in the file".to_owned()));
    assert!(ScenarioFile::parse("[]").is_err());
}
