//! A change of one hook leaves the policies of the others alone.

use std::sync::Arc;

use serde_json::json;

use super::guest::picker;
use super::{Fixture, patch, request};
use crate::policy::wire::Shard;
use crate::policy::{Pipelines, Scope};

const SHARDS: [Shard; 2] = [
    Shard { shard_no: 0, remaining: 1, unsettled: 0, lag_records: 0 },
    Shard { shard_no: 1, remaining: 1, unsettled: 0, lag_records: 0 },
];
/// Counts its calls in memory that the contract does not use, and picks shard 1 from the tenth on.
const PICKS_ANOTHER_SHARD_WHEN_IT_IS_OLD: &str = "
    (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
    (return (i32.ge_u (i32.load (i32.const 64)) (i32.const 10)))";
/// Its trial is about user 0.
const TRAPS_FOR_OTHER_USERS: &str = "(if (i64.ne (local.get 2) (i64.const 0)) (then unreachable))";

async fn activate(pipelines: &Arc<Pipelines>, pick: &str) {
    pipelines.upload("guest", picker("", pick).bytes.to_vec(), None, "anna").await.expect("is a policy");
    let spec = json!({ "shard-picker": { "policy": "guest", "on_failure": "refuse", "deadline_ms": 1000 } });
    pipelines.change(Scope::Default, patch(spec), "anna").await.expect("the picker changes");
}

async fn change_another_hook(pipelines: &Arc<Pipelines>) {
    let before = pipelines.current().number();
    let spec = json!({ "rate-shaper": { "deadline_ms": 50 } });
    assert_eq!(
        pipelines.change(Scope::Default, patch(spec), "anna").await.expect("the rate shaper changes"),
        before + 1
    );
}

fn failures(pipelines: &Pipelines, reason: &str) -> usize {
    let metrics = String::from_utf8(pipelines.loader.telemetry.render()).expect("text");
    let is_of = |line: &&str| {
        line.starts_with("sluice_policy_failures_total") && line.contains("guest") && line.contains(reason)
    };
    let line = metrics.lines().find(is_of).expect("a number of failures");
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_instances_of_a_hook_survive_a_change_of_another_hook() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    activate(&pipelines, PICKS_ANOTHER_SHARD_WHEN_IT_IS_OLD).await;
    let pick = || pipelines.current().pick(&request(1), Ok(&[]), &SHARDS).verdict.expect("picks");
    (0..10).for_each(|_| {
        pick();
    });
    assert_eq!(pick(), 1, "the instance is old");
    change_another_hook(&pipelines).await;
    assert_eq!(pick(), 1, "it is the same instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_stays_open_when_another_hook_changes() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    activate(&pipelines, TRAPS_FOR_OTHER_USERS).await;
    let fail = || pipelines.current().pick(&request(1), Ok(&[]), &SHARDS).verdict.expect_err("the hook refuses");
    while failures(&pipelines, "circuit_open") == 0 {
        fail();
    }
    change_another_hook(&pipelines).await;
    let before = failures(&pipelines, "circuit_open");
    (0..10).for_each(|_| {
        fail();
    });
    // One call may be a probe.
    assert!(failures(&pipelines, "circuit_open") >= before + 9);
}
