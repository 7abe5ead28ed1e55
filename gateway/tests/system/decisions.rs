//! Decisions are recorded, explained, listed and replayed.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};
use sluice::config::Config;
use sluice::policy::{Load, OfflineHost, Shard, Usage};
use sluice::replay::{Instances, Report, replay};

use crate::harness::{Files, Fixture, PATIENCE, eventually, payload};

const USERS: u64 = 20;

/// Records every decision in the folder of the test.
pub(crate) async fn start() -> Fixture {
    let files = Files::new();
    let dir = files.path("decisions");
    let configure = |config: &mut Config| {
        config.decisions.sample = 1.0;
        config.decisions.sample_refusals = 1.0;
        config.decisions.dir = dir;
    };
    Fixture::with(files, configure, |ports| ports).await
}

impl Fixture {
    async fn decisions(&self, query: &str) -> Vec<Value> {
        let url = format!("http://{}/admin/decisions?{query}", self.running.admin);
        let lines = reqwest::get(url).await.expect("an answer").text().await.expect("all of it");
        lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }

    /// Waits until this number of decisions is in the files.
    pub(crate) async fn recorded(&self, number: u64) {
        let are_written = async || (self.decisions("").await.len() as u64 >= number).then_some(());
        eventually("the decisions are written", are_written).await;
    }
}

fn request_id(status_url: &str) -> &str {
    status_url.trim_start_matches("/coupon/issue/").split('?').next().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_listed_by_coupon_arrival_and_outcome_and_explained() {
    let system = start().await;
    let status_url = system.accepted(1).await;
    assert_eq!(system.issue(1).await.status, StatusCode::TOO_MANY_REQUESTS);
    system.recorded(2).await;
    let [accepted, refused] = &system.decisions("coupon=104").await[..] else { panic!("two decisions") };
    assert_eq!((&accepted["outcome"], &refused["outcome"]), (&"accepted".into(), &"refused".into()));
    assert_eq!(accepted["requestId"], request_id(&status_url));
    assert_eq!(&system.decisions("coupon=104&outcome=refused").await, std::slice::from_ref(refused));
    assert_eq!(system.decisions("coupon=105").await, [Value::Null; 0]);
    assert_eq!(system.decisions("since=2999-01-01T00:00:00Z").await, [Value::Null; 0]);
    assert_eq!(system.decisions("since=2001-01-01T00:00:00Z&outcome=accepted").await.len(), 1);

    let path = format!("/admin/decisions/{}", request_id(&status_url));
    let explained = system.operate(Method::GET, &path, None).await.body;
    assert_eq!(explained["decision"], *accepted);
    let shard = &accepted["steps"]["shard-picker"]["verdict"];
    let sentence = explained["explanation"][3].as_str().expect("a sentence on the shard picker");
    assert!(sentence.contains(&format!("sent it to shard {shard}. It was given: 4 shards")), "{sentence}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_decision_and_a_wrong_filter_are_refused_with_what_was_expected() {
    let system = start().await;
    for (path, status, detail) in [
        ("/admin/decisions/00000000000000000000000000000001", StatusCode::NOT_FOUND, "decisions.sample"),
        ("/admin/decisions/nonsense", StatusCode::NOT_FOUND, "decisions.sample"),
        ("/admin/decisions?coupon=x", StatusCode::BAD_REQUEST, "coupon: expected the id of a coupon, found `x`"),
        ("/admin/decisions?since=now", StatusCode::BAD_REQUEST, "since: expected a time"),
        ("/admin/decisions?outcome=lost", StatusCode::BAD_REQUEST, "expected accepted or refused"),
    ] {
        let answer = system.operate(Method::GET, path, None).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains(detail)), "{}", answer.body);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_loses_decisions_and_no_request() {
    let files = Files::new();
    let dir = files.path("decisions");
    std::fs::write(&dir, "no folder").expect("writes");
    let configure = |config: &mut Config| {
        config.decisions.sample = 1.0;
        config.decisions.dir = dir;
    };
    let system = Fixture::with(files, configure, |ports| ports).await;
    for user in 1..=USERS {
        system.accepted(user).await;
    }
    let lost = format!("sluice_decisions_lost_total{{reason=\"write_failed\"}} {USERS}");
    eventually("the losses are counted", async || system.metrics().await.contains(&lost).then_some(())).await;
    assert!(system.metrics().await.contains("sluice_decisions_recorded_total 0"));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_follows_gets_what_is_recorded_from_then_on() {
    let system = start().await;
    system.accepted(1).await;
    system.recorded(1).await;
    let url = format!("http://{}/admin/decisions?follow=true", system.running.admin);
    let mut following = reqwest::get(url).await.expect("an answer");
    let status_url = system.accepted(2).await;
    let part = tokio::time::timeout(PATIENCE, following.chunk()).await.expect("in time").expect("a part");
    let line: Value = serde_json::from_slice(&part.expect("it goes on")).expect("one line");
    assert_eq!(line["requestId"], request_id(&status_url));
    system.stop().await;
}

/// Replays the recording with the policy that made it.
async fn replay_active(policy: &str, config: Map<String, Value>, recording: &[u8], hook: &str) -> Report {
    let options = Files::new().config().policies;
    let component = std::fs::read(options.dir.join(format!("{policy}.wasm"))).expect("a built policy");
    let host = OfflineHost::new(&options);
    let run = match hook {
        "rate-shaper" => {
            let policy = host.load_metered::<Load>(component, &config).await.expect("loads");
            replay(recording, &policy, Instances::Fresh, 2, None)
        }
        "user-limit" => {
            let policy = host.load_metered::<Usage>(component, &config).await.expect("loads");
            replay(recording, &policy, Instances::Fresh, 2, None)
        }
        _ => {
            let policy = host.load_metered::<Vec<Shard>>(component, &config).await.expect("loads");
            replay(recording, &policy, Instances::Fresh, 2, None)
        }
    };
    run.expect("replays")
}

fn recording(dir: &Path) -> Vec<u8> {
    let mut files: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().flat_map(|path| std::fs::read(path).expect("reads")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_the_active_policies_changes_no_decision() {
    let system = start().await;
    for user in 1..=USERS {
        system.accepted(user).await;
        let again = system.call(Method::POST, "/coupon/issue", Some(payload(user))).await;
        assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS);
    }
    system.recorded(2 * USERS).await;
    let recording = recording(&system.files.path("decisions"));
    let shaper = serde_json::json!({ "per_second": 50_000, "burst": 10_000 });
    let shaper = shaper.as_object().cloned().expect("an object");
    for (hook, policy, config, decisions) in [
        ("rate-shaper", "token-bucket", shaper, 2 * USERS),
        ("user-limit", "quota", Map::new(), 2 * USERS),
        ("shard-picker", "random", Map::new(), USERS),
    ] {
        let report = replay_active(policy, config, &recording, hook).await;
        assert_eq!((report.decisions, report.changed, report.stateful), (decisions, 0, 0), "{}", report.json());
    }
    let other = replay_active("hash-user", Map::new(), &recording, "shard-picker").await;
    assert!(other.changed > 0 && !other.differences.is_empty(), "{}", other.json());
    system.stop().await;
}
