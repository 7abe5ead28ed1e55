//! Candidates that are worse than the active policy are rolled back on both gateways, from a shadow and from a canary.

use serde_json::{Value, json};

use super::{Answers, Pair, candidates};
use crate::harness::eventually;

/// Rolls a candidate out, and expects that this guard rolls it back.
async fn is_rolled_back(hooks: Value, upload: Option<Vec<u8>>, reasons: &[&str], rollout: Value) -> Answers {
    let pair = Pair::start().await;
    if let Some(component) = upload {
        pair.gateways[0].upload("candidate", component).await;
    }
    let before = pair.generations().await;
    let mut body = rollout;
    body["hooks"] = hooks;
    body["guards"]["decisionsMin"] = 150.into();
    let id = pair.roll_out(body).await;
    let (over, answers) = pair.load_until_over(id).await;
    let status = &over["status"];
    assert_eq!(status["state"], "rolled-back", "{over}");
    let reason = status["reason"].as_str().expect("a reason");
    assert!(reasons.iter().any(|expected| reason.contains(expected)), "{reason}");
    let last = over["history"].as_array().expect("a list").last().expect("a step").clone();
    assert!(last["who"].as_str().is_some_and(|who| who.starts_with("gateway ")), "{last}");
    assert!(!last["measured"].as_array().expect("what the guards found").is_empty(), "{last}");
    assert_eq!(pair.generations().await, before, "the pipeline is as it was");
    eventually("nobody is served by the candidate", async || (pair.round().await.by_canary == 0).then_some(())).await;
    pair.stop().await;
    answers
}

/// On a busy machine, single calls may take any time, and a trap takes longer than a call.
fn canary() -> Value {
    json!({ "shadow": false, "canaryPercent": 50, "guards": { "callP99Ratio": 1000 } })
}

fn shadow() -> Value {
    json!({ "guards": { "callP99Ratio": 1000 } })
}

fn picker() -> Value {
    json!({ "shard-picker": { "policy": "candidate", "deadline_ms": 500 } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_traps_in_two_of_a_hundred_calls() {
    for rollout in [canary(), shadow()] {
        let answers = is_rolled_back(picker(), Some(candidates::traps_sometimes()), &["failed in"], rollout).await;
        assert_eq!(answers.refused, 0, "on_failure decides: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_is_many_times_slower() {
    let reasons = ["times the processor time", "on_failure decided"];
    let rollout = json!({ "shadow": false, "canaryPercent": 50, "guards": { "callP99Ratio": 5 } });
    is_rolled_back(picker(), Some(candidates::slow(10_000_000)), &reasons, rollout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_always_picks_shard_0() {
    for rollout in [canary(), shadow()] {
        is_rolled_back(picker(), Some(candidates::always_shard_0()), &["over the shards"], rollout).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_refuses_everybody() {
    let hooks = json!({ "rate-shaper": { "policy": "lottery", "config": { "ratio": 0.0 } } });
    let answers = is_rolled_back(hooks, None, &["refused shares"], canary()).await;
    assert!(answers.by_canary >= answers.refused, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_decides_differently_refuses_nobody() {
    let hooks = json!({ "rate-shaper": { "policy": "lottery", "config": { "ratio": 0.7 } } });
    let answers = is_rolled_back(hooks, None, &["differently", "refused shares"], shadow()).await;
    assert_eq!((answers.refused, answers.by_canary), (0, 0));
}
