//! Changes of the pipeline on a real ledger, with the policies that `policies/build` makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::generation::Generation;
use super::{
    HookSpec, Isolation, Options, Pipeline, PipelinePatch, Pipelines, PolicyUnavailable, Request, Source, Usage,
};
use crate::counters::{Hook, Unavailable};
use crate::ledger::{self, Ledger};
use crate::telemetry::Telemetry;

fn built(policy: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(format!("{policy}.wasm"));
    assert!(path.exists(), "the policies are not built: run policies/build first");
    path
}

struct Fixture {
    /// Goes with the test.
    _data: TempDir,
    folder: PathBuf,
    ledger: Arc<dyn Ledger>,
    pipelines: Arc<Pipelines>,
}

impl Fixture {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let folder = data.path().join("policies");
        std::fs::create_dir(&folder).expect("a folder is made");
        for policy in ["token-bucket", "quota", "random", "hash-user"] {
            std::fs::copy(built(policy), folder.join(format!("{policy}.wasm"))).expect("a policy is copied");
        }
        let url = format!("sqlite:{}", data.path().join("ledger.db").display());
        let ledger =
            ledger::open(&ledger::Options { url, ..ledger::Options::default() }).await.expect("a ledger opens");
        let options = Options { dir: folder.clone() };
        let pipelines = Pipelines::start(&options, Pipeline::default(), Arc::clone(&ledger), &Telemetry::new())
            .await
            .expect("it starts");
        Self { _data: data, folder, ledger, pipelines }
    }
}

fn pick_with(policy: &str) -> PipelinePatch {
    serde_json::from_value(json!({ "shard-picker": { "policy": policy } })).expect("a patch")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_stop_later_changes() {
    let Fixture { pipelines, ledger, _data, .. } = Fixture::start().await;
    let mut change = Box::pin(pipelines.change(pick_with("hash-user"), Source::Admin));
    // Polled by hand, the change moves one step at a time: the client can hang up right after the
    // generation is recorded.
    while change.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if ledger.generations(1).await.expect("reads")[0].number == 2 {
            break;
        }
    }
    drop(change);
    let number = pipelines.change(pick_with("random"), Source::Admin).await.expect("the next change");
    assert_eq!((number, pipelines.current().number()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_leaves_the_components_of_other_hooks_alone() {
    let Fixture { pipelines, folder, _data, .. } = Fixture::start().await;
    let before = pipelines.current();
    std::fs::write(folder.join("quota.wasm"), b"half of a component").expect("writes");
    pipelines.change(pick_with("hash-user"), Source::Admin).await.expect("the picker changes");
    let after = pipelines.current();
    assert_eq!(after.version(Hook::UserLimit), before.version(Hook::UserLimit));
    assert_ne!(after.version(Hook::ShardPicker), before.version(Hook::ShardPicker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_hook_that_refuses_on_failure_refuses_when_nothing_was_measured() {
    let default = Pipeline::default();
    let pipeline =
        Pipeline { user_limit: HookSpec { isolation: Isolation::Native, ..default.user_limit.clone() }, ..default };
    let bytes = ["token-bucket", "quota", "random"].map(|policy| std::fs::read(built(policy)).expect("reads"));
    let generation = Generation::load(1, pipeline, [&bytes[0], &bytes[1], &bytes[2]], &Telemetry::new())
        .map_err(|(_, error)| error)
        .expect("it loads");
    let request = Request { coupon_id: 104, policy_id: 21, user_id: 1, arrived_at_ms: 1, entropy: 1 };
    let usage = Usage { per_user_limit: 1, total: 1, remaining: 1 };
    let measured = Unavailable("out of reach".to_owned());
    assert_eq!(generation.admit(&request, Err(&measured), &usage), Err(PolicyUnavailable { hook: Hook::UserLimit }));
}
