//! `sluice decisions`, `sluice policy replay` and `sluice policy bench`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::harness::{Gateway, eventually};

const TIMEOUT: Duration = Duration::from_secs(120);

/// Records every decision.
async fn gateway() -> Gateway {
    Gateway::with(&[("DECISIONS__SAMPLE", "1"), ("DECISIONS__SAMPLE_REFUSALS", "1")]).await
}

async fn export(gateway: &Gateway, decisions: usize) -> String {
    let all = async || {
        let ended = gateway.run(&["decisions", "export", "--coupon", "104"]).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        (ended.stdout.lines().count() == decisions).then_some(ended.stdout)
    };
    eventually("all decisions are recorded", TIMEOUT, all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_decisions_are_exported_explained_and_replayed_with_another_policy() {
    let gateway = gateway().await;
    let crowd = Crowd::at(&gateway, 104);
    crowd.send_burst(4, 1..=30).await;
    let exported = export(&gateway, 30).await;
    let first: Value = serde_json::from_str(exported.lines().next().expect("a line")).expect("JSON");

    let id = first["requestId"].as_str().expect("an id");
    let explained = gateway.run(&["decisions", "explain", id]).await;
    assert_eq!(explained.code, Some(0), "{explained}");
    let sentence = format!("sent it to shard {}.", first["steps"]["shard-picker"]["verdict"]);
    assert!(explained.stdout.contains(&sentence), "{explained}");
    let unknown = gateway.run(&["decisions", "explain", "00000000-0000-0000-0000-000000000001"]).await;
    assert_eq!(unknown.code, Some(1), "{unknown}");

    std::fs::write(gateway.home.path().join("recording.ndjson"), &exported).expect("writes");
    let replay = |policy: &'static str| {
        let policy = format!("policies/{policy}.wasm");
        let arguments =
            ["policy", "replay", "--decisions", "recording.ndjson", "--hook", "shard-picker", "--policy", &policy]
                .map(str::to_owned);
        let gateway = &gateway;
        async move {
            let arguments =
                [&arguments[..], &["--json".to_owned(), "--html".to_owned(), "page.html".to_owned()]].concat();
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let ended = gateway.run(&arguments).await;
            assert_eq!(ended.code, Some(0), "{ended}");
            (ended.stdout, std::fs::read(gateway.home.path().join("page.html")).expect("a page"))
        }
    };
    let same: Value = serde_json::from_str(&replay("random").await.0).expect("JSON");
    assert_eq!((&same["decisions"], &same["changed"]), (&json!(30), &json!(0)), "{same}");
    let (one, two) = (replay("hash-user").await, replay("hash-user").await);
    assert!(one == two, "the bytes differ");
    let other: Value = serde_json::from_str(&one.0).expect("JSON");
    assert!(other["changed"].as_u64() > Some(0), "{other}");
    let text = ["policy", "replay", "--decisions", "recording.ndjson", "--hook", "user-limit"];
    let wrong = gateway.run(&[&text[..], &["--policy", "policies/random.wasm"]].concat()).await;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("expected the world user-limit"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_prints_fuel_time_and_memory_by_the_number_of_shards() {
    let gateway = Gateway::start().await;
    let ended = gateway.run(&["policy", "bench", "policies/weighted.wasm", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let rows: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let shards: Vec<_> = rows.as_array().expect("rows").iter().filter_map(|row| row["shards"].as_u64()).collect();
    assert_eq!(shards, [1, 4, 12, 64, 256]);
    assert!(rows[4]["fuel"].as_u64() > rows[0]["fuel"].as_u64(), "{rows}");
    let table = gateway.run(&["policy", "bench", "policies/quota.wasm"]).await;
    assert!(table.code == Some(0) && table.stdout.contains("memoryBytes"), "{table}");
}
