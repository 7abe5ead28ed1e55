//! The ledger goes away during a rollout, and processes die in the middle of one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Pair, candidates, running};
use crate::faulty::LedgerFaults;
use crate::harness::eventually;

async fn start() -> (Pair, u64) {
    start_with(2).await
}

/// For this many seconds, a gateway may be without the ledger.
async fn start_with(ledger_seconds: u64) -> (Pair, u64) {
    let pair = Pair::start().await;
    pair.gateways[0].upload("candidate", candidates::good()).await;
    let hooks = json!({ "shard-picker": { "policy": "candidate" } });
    // On a busy machine, single calls may take any time.
    let guards = json!({ "ledgerSeconds": ledger_seconds, "callP99Ratio": 1000 });
    let id = pair.roll_out(json!({ "hooks": hooks, "shadow": false, "canaryPercent": 50, "guards": guards })).await;
    (pair, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_ledger_the_active_policies_decide_and_the_rollout_is_rolled_back_later() {
    is_rolled_back_after(|faults| &faults.is_down).await;
}

/// A server that is suspended, or a network that drops packets, refuses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_does_not_answer_is_as_one_that_is_down() {
    is_rolled_back_after(|faults| &faults.is_suspended).await;
}

/// Nobody could stop a bad candidate.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_can_only_be_read_is_as_one_that_is_down() {
    is_rolled_back_after(|faults| &faults.is_read_only).await;
}

async fn is_rolled_back_after(fault: impl Fn(&LedgerFaults) -> &AtomicBool) {
    let (pair, id) = start().await;
    assert!(pair.round().await.by_canary > 0);
    let before = pair.generations().await;
    fault(&pair.faults).store(true, Ordering::Relaxed);
    for gateway in &pair.gateways {
        eventually("the gateway returns to the active policies", async || (running(gateway).await == 0).then_some(()))
            .await;
    }
    let answers = pair.round().await;
    assert_eq!((answers.by_canary, answers.refused), (0, 0), "and every request is accepted: {answers:?}");
    fault(&pair.faults).store(false, Ordering::Relaxed);
    let (over, _) = pair.load_until_over(id).await;
    assert_eq!(over["status"]["state"], "rolled-back", "{over}");
    let reason = over["status"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("the ledger was unavailable for a gateway for "), "{reason}");
    assert_eq!(pair.generations().await, before);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_changes_nothing() {
    // The outage stays short if the requests in it take seconds.
    let (pair, id) = start_with(20).await;
    pair.faults.is_down.store(true, Ordering::Relaxed);
    // Longer than the least that the guard accepts.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(pair.round().await.by_canary > 0);
    pair.faults.is_down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(pair.rollout(id).await["status"]["state"], "running");
    assert!(pair.round().await.by_canary > 0);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_ledger_no_rollout_is_started_changed_or_ended() {
    // Far longer than the calls take: the outage itself must not end the rollout.
    let (pair, id) = start_with(60).await;
    let before = pair.rollout(id).await;
    pair.faults.is_down.store(true, Ordering::Relaxed);
    let path = format!("/admin/rollouts/{id}");
    let another = json!({ "couponId": 104, "hooks": { "rate-shaper": { "policy": "lottery" } } });
    for (method, path, body) in [
        (Method::POST, "/admin/rollouts".to_owned(), another),
        (Method::PATCH, path.clone(), json!({ "canaryPercent": 60 })),
        (Method::POST, format!("{path}/promote"), Value::Null),
        (Method::POST, format!("{path}/abort"), json!({})),
    ] {
        let refused = pair.gateways[0].operate(method, &path, Some(body).filter(|body| !body.is_null())).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", refused.body);
    }
    pair.faults.is_down.store(false, Ordering::Relaxed);
    let after = pair.rollout(id).await;
    assert_eq!((&after["status"], &after["canaryPercent"]), (&before["status"], &before["canaryPercent"]));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_nobody_finished_is_finished_by_the_gateways_that_run() {
    let (pair, id) = start().await;
    decide_to_promote(&pair).await;
    is_promoted(pair, id).await;
}

/// The candidate may have been published before the ledger went away.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_finished_after_the_ledger_was_away_for_too_long() {
    let (pair, id) = start().await;
    decide_to_promote(&pair).await;
    pair.faults.is_down.store(true, Ordering::Relaxed);
    for gateway in &pair.gateways {
        eventually("the gateway returns to the active policies", async || (running(gateway).await == 0).then_some(()))
            .await;
    }
    pair.faults.is_down.store(false, Ordering::Relaxed);
    is_promoted(pair, id).await;
}

/// As a process does that dies right afterwards.
async fn decide_to_promote(pair: &Pair) {
    let row = pair.ports.ledger.rollouts().newest(1).await.expect("reads").remove(0);
    let record = row.record.replacen(r#""state":"running""#, r#""state":"promoting""#, 1);
    assert_ne!(record, row.record);
    let promoting = sluice::ledger::RolloutRow { version: row.version + 1, record, ..row };
    assert!(pair.ports.ledger.rollouts().update(&promoting).await.expect("updates"));
}

async fn is_promoted(pair: Pair, id: u64) {
    let (over, _) = pair.load_until_over(id).await;
    assert_eq!(over["status"]["state"], "promoted", "{over}");
    let generation = over["status"]["generation"].clone();
    eventually("both have the generation", async || {
        (pair.generations().await == [generation.clone(), generation.clone()]).then_some(())
    })
    .await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_is_damaged_in_the_ledger_is_rolled_back() {
    let pair = Pair::start().await;
    let uploaded = pair.gateways[0].upload("candidate", candidates::good()).await;
    let versions = pair.ports.ledger.policy_versions().await.expect("reads");
    let version =
        versions.into_iter().find(|version| uploaded.body["digest"] == version.digest).expect("is registered");
    let hooks = json!({ "shard-picker": { "policy": "candidate" } });
    let body = json!({ "hooks": hooks, "shadow": false, "canaryPercent": 50 });
    let started = pair.gateways[0].operate(Method::POST, "/admin/rollouts", Some(body)).await;
    pair.ports.ledger.register_policy(&version, b"damaged").await.expect("overwrites");
    let id = started.body["id"].as_u64().expect("a number");
    // A gateway that loaded it before keeps it; one that could not ends the rollout. A change of the pipeline makes both
    // load it again.
    let change = json!({ "user-limit": { "deadline_ms": 9 } });
    let changed = pair.gateways[0].operate(Method::PUT, "/admin/pipeline", Some(change)).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let (over, answers) = pair.load_until_over(id).await;
    let reason = over["status"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("missing or damaged"), "{reason}");
    assert_eq!(answers.refused, 0);
    pair.stop().await;
}
