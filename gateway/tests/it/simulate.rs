//! `sluice simulate`: scenarios of the load tests, and an exported campaign.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::harness::{Campaign, Exit, Gateway, Home, Launch, Process};

/// It compiles the policies first.
const TIMEOUT: Duration = Duration::from_secs(240);
const PICKERS: [&str; 5] = ["hash-user", "power-of-two", "random", "round-robin", "weighted"];

fn home() -> Home {
    let address = "127.0.0.1:0".parse().expect("an address");
    let home = Home::new(address, address);
    let drop = json!({
        "load": { "executor": "constant-arrival-rate", "rate": 500, "duration": "2s", "preAllocatedVUs": 10 },
        "crowd": { "users": 1000 },
        "total": 300,
        "shards": 12,
    });
    let file = json!({ "drop": drop, "one-shard": { "extends": "drop", "shards": 1 } });
    std::fs::write(home.path().join("scenarios.json"), file.to_string()).expect("writes");
    home
}

async fn run(folder: &Path, arguments: &[&str]) -> Exit {
    let arguments = [&["simulate"], arguments].concat();
    Process::run(Launch::default().command(folder, &arguments), TIMEOUT).await
}

async fn run_for_json(folder: &Path, arguments: &[&str]) -> Value {
    let ended = run(folder, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

fn predictions(report: &Value) -> Vec<(&str, &Value)> {
    let pickers = report["pickers"].as_array().expect("a list");
    pickers.iter().map(|run| (run["picker"].as_str().expect("a name"), &run["prediction"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_is_predicted_for_every_picker_of_the_folder_and_repeats_with_its_seed() {
    let home = home();
    let drop = ["scenarios.json", "--scenario", "drop", "--seed", "7"];
    let report = run_for_json(home.path(), &drop).await;
    assert_eq!((&report["scenario"], &report["seed"]), (&json!("drop"), &json!(7)));
    let names: Vec<_> = predictions(&report).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, PICKERS);
    for (name, prediction) in predictions(&report) {
        assert_eq!((&prediction["requests"], &prediction["granted"]), (&json!(1000), &json!(300)), "{name}");
        assert_eq!(prediction["unsoldCoupons"], 0, "{name}");
    }
    let again = run_for_json(home.path(), &drop).await;
    assert_eq!(predictions(&again), predictions(&report));
    assert!(!home.path().join("data").exists(), "a simulation writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_prints_tables() {
    let home = home();
    let arguments = ["scenarios.json", "--scenario", "one-shard", "--picker", "random,weighted"];
    let ended = run(home.path(), &arguments).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(
        ended.stdout.starts_with("one-shard: requests 1000, campaigns 1, coupons each 300, shards 1, partitions 12\n"),
        "{ended}"
    );
    for line in ["picker  accepted  granted", "SOLD_OUT", "requests/s"] {
        assert!(ended.stdout.contains(line), "`{line}` is missing: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_scenario_picker_or_option_is_explained() {
    let home = home();
    let bad = json!({ "drop": { "load": {}, "crowd": { "users": 1 }, "total": 1, "shards": 1 } });
    std::fs::write(home.path().join("bad.json"), bad.to_string()).expect("writes");
    for (arguments, code, message) in [
        (&["bad.json"][..], 2, "bad.json: drop.load: missing field `executor`"),
        (&["scenarios.json"], 2, "scenarios.json: several scenarios: choose one with --scenario: drop, one-shard"),
        (&["scenarios.json", "--scenario", "drip"], 2, "scenarios.json: unknown scenario `drip`"),
        (&["missing.json"], 2, "missing.json: No such file"),
        (&["--export", "bad.json"], 2, "bad.json: line 1: missing field `requestId`"),
        (&["scenarios.json", "--scenario", "drop", "--picker", "mine"], 1, "read policies/mine.wasm: No such file"),
        (&["scenarios.json", "--scenario", "drop", "--gateways", "2"], 2, "--gateways 2: a ledger in a file has one"),
    ] {
        let ended = run(home.path(), arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended}");
        assert!(ended.stderr.starts_with(&format!("sluice: {message}")), "{arguments:?} {ended}");
    }
    assert_eq!(run(home.path(), &[]).await.code, Some(2), "a file or an export is needed");
    assert_eq!(run(home.path(), &["scenarios.json", "--record-us", "-1"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_campaign_is_predicted_next_to_what_happened() {
    let gateway = Gateway::start().await;
    let campaign = Campaign { coupon: 9, ..Campaign::of(200, 4) };
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    crowd.send_burst(8, 1..=150).await;
    crowd.verify(&gateway, campaign).await.assert_holds();
    let exported = gateway.run(&["coupon", "export", "9"]).await;
    assert_eq!(exported.code, Some(0), "{exported}");
    std::fs::write(gateway.home.path().join("9.ndjson"), &exported.stdout).expect("writes");
    let arguments = ["--export", "9.ndjson", "--total", "200", "--picker", "random"];
    let report = run_for_json(gateway.home.path(), &arguments).await;
    let measured = &report["measured"];
    let prediction = &report["pickers"][0]["prediction"];
    assert_eq!((&measured["accepted"], &measured["granted"]), (&json!(150), &json!(150)));
    assert_eq!(prediction["granted"], 150);
    assert_eq!(prediction["unsoldCoupons"], 50);
    assert_eq!(prediction["picked"], measured["picked"], "the same requests have the same random numbers");
}
