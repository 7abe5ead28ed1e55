//! Pipelines outside of a gateway.

use std::path::Path;

use super::guest::picker;
use super::{built, options, request};
use crate::counters::Hook;
use crate::policy::wire::Shard;
use crate::policy::{HookPatch, OfflineHost, OfflinePipeline, Options, Pipeline, PipelinePatch};

const TRAPS_FOR_USER_2: &str = "(if (i64.eq (local.get 2) (i64.const 2)) (then unreachable))";
const LOOPS: &str = "(loop $again (br $again))";

fn shards() -> Vec<Shard> {
    (0..4).map(|shard_no| Shard { shard_no, remaining: 1, unsettled: 0, lag_records: 0 }).collect()
}

fn with_picker(policy: &str) -> Pipeline {
    let picker = HookPatch { policy: Some(policy.to_owned()), ..HookPatch::default() };
    Pipeline::default().patched(&PipelinePatch { shard_picker: Some(picker), ..PipelinePatch::default() })
}

/// With the policies of this repository.
fn host() -> OfflineHost {
    let dir = built("random").parent().expect("a folder").to_owned();
    OfflineHost::new(&Options { dir, ..options() })
}

/// With a picker called `guest` that runs these instructions first, and then picks shard 0.
async fn load_guest(folder: &Path, pick: &str) -> OfflinePipeline {
    for policy in ["token-bucket", "quota"] {
        std::fs::copy(built(policy), folder.join(format!("{policy}.wasm"))).expect("copies a policy");
    }
    std::fs::write(folder.join("guest.wasm"), &picker("", pick).bytes).expect("writes");
    let host = OfflineHost::new(&Options { dir: folder.to_owned(), ..options() });
    host.load(&with_picker("guest")).await.expect("loads")
}

#[test]
fn the_policies_of_a_hook_are_listed_by_name() {
    let pickers = host().policies(Hook::ShardPicker);
    for picker in ["hash-user", "power-of-two", "random", "round-robin", "weighted"] {
        assert!(pickers.iter().any(|name| name == picker), "{picker} is missing in {pickers:?}");
    }
    assert!(!pickers.iter().any(|name| name == "quota"), "{pickers:?}");
    let nowhere = OfflineHost::new(&Options { dir: "/nowhere".into(), ..options() });
    assert!(nowhere.policies(Hook::ShardPicker).is_empty());
}

#[tokio::test]
async fn a_policy_that_is_missing_is_named_when_the_pipeline_is_loaded() {
    let error = host().load(&with_picker("no-such")).await.err().expect("is missing").to_string();
    assert!(error.contains("no-such.wasm") && error.contains("policies/build"), "{error}");
}

#[tokio::test]
async fn a_policy_that_traps_loses_that_decision_and_decides_the_next_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut policies = load_guest(folder.path(), TRAPS_FOR_USER_2).await;
    let picked: Vec<_> = [1, 2, 1].map(|user| policies.pick(&request(user), &[], &shards()).expect("picks").0).into();
    let fallback = crate::policy::native::pick(&request(2), &shards()).0;
    assert_eq!(picked, [0, fallback, 0]);
    let cost = policies.cost().shard_picker;
    assert_eq!((cost.calls, cost.failures), (3, 1));
}

#[tokio::test]
async fn a_policy_that_loops_is_ended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut policies = load_guest(folder.path(), LOOPS).await;
    policies.pick(&request(1), &[], &shards()).expect("the fallback picks");
    assert_eq!(policies.cost().shard_picker.failures, 1);
}
