//! Changes of the pipeline on an embedded ledger, with the policies that `policies/build` builds.

mod bounds;
mod conflicts;
mod coupons;
mod fuel;
mod guest;
mod offline;
mod registry;
mod reports;
mod restart;
mod sharing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::component::{ComponentBytes, ResolvedPipeline};
use super::host::Host;
use super::loader::{Loader, Trial};
use super::{
    ChangeError, CompilerProgram, Generation, IsOver, OnFailure, Options, Pipeline, PipelinePatch, Pipelines,
    PolicyUnavailable, Request, Scope, StartError, Usage,
};
use crate::counters::{Hook, PerHook, Unavailable};
use crate::coupon::CouponId;
use crate::ledger::{self, Ledger};
use crate::telemetry::Telemetry;

fn built(policy: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(format!("{policy}.wasm"));
    assert!(path.exists(), "the policies are not built: run policies/build first");
    path
}

/// Compiles in this process: a unit test has no other program.
fn options() -> Options {
    Options { compiler: CompilerProgram::InProcess, ..Options::default().read_only() }
}

static HOST: LazyLock<Arc<Host>> =
    LazyLock::new(|| Arc::new(Host::new(&options(), &Telemetry::new(), CancellationToken::new())));

struct Fixture {
    /// Deleted when the test ends.
    _data: TempDir,
    folder: PathBuf,
    ledger: Arc<dyn Ledger>,
    pipelines: Arc<Pipelines>,
}

impl Fixture {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let folder = data.path().join("policies");
        std::fs::create_dir(&folder).expect("creates a folder");
        for policy in ["token-bucket", "quota", "random", "hash-user"] {
            std::fs::copy(built(policy), folder.join(format!("{policy}.wasm"))).expect("copies a policy");
        }
        let url = format!("sqlite:{}", data.path().join("ledger.db").display());
        let ledger =
            ledger::open(&ledger::Options { url, ..ledger::Options::default() }, 12).await.expect("opens a ledger");
        let pipelines = start(&folder, &ledger).await.expect("starts");
        Self { _data: data, folder, ledger, pipelines }
    }

    /// Another process on the same ledger and folder.
    async fn start_again(&self) -> Result<Arc<Pipelines>, StartError> {
        start(&self.folder, &self.ledger).await
    }
}

async fn start(folder: &Path, ledger: &Arc<dyn Ledger>) -> Result<Arc<Pipelines>, StartError> {
    let options = Options { dir: folder.to_owned(), ..options() };
    let stop = CancellationToken::new();
    let is_over: IsOver = Arc::new(|coupon| coupon == over());
    Pipelines::start(&options, Pipeline::default(), Arc::clone(ledger), is_over, &Telemetry::new(), &stop).await
}

fn coupon(id: u64) -> CouponId {
    id.try_into().expect("in range")
}

/// Its campaign is over.
fn over() -> CouponId {
    coupon(900)
}

fn patch(json: serde_json::Value) -> PipelinePatch {
    serde_json::from_value(json).expect("a patch")
}

fn pick_with(policy: &str) -> PipelinePatch {
    patch(json!({ "shard-picker": { "policy": policy } }))
}

/// The default pipeline on built policies.
fn default_pipeline() -> ResolvedPipeline {
    let pipeline = Pipeline::default();
    let components = PerHook::from_fn(|hook| {
        ComponentBytes::unsigned(std::fs::read(built(&pipeline.hook(hook).policy)).expect("reads"))
    });
    ResolvedPipeline { pipeline, components }
}

async fn load(host: &Arc<Host>, resolved: &ResolvedPipeline, telemetry: &Telemetry) -> Result<Generation, ChangeError> {
    Loader::with_host(Arc::clone(host), false, telemetry).load(1, resolved, Trial::Skip).await
}

/// The default pipeline with another shard picker.
fn with_picker(picker: ComponentBytes, on_failure: OnFailure) -> ResolvedPipeline {
    let mut resolved = default_pipeline();
    resolved.pipeline.shard_picker.on_failure = on_failure;
    // A machine that also compiles is slow.
    resolved.pipeline.shard_picker.deadline_ms = 1000;
    resolved.components.shard_picker = picker;
    resolved
}

async fn generation_with_picker(picker: ComponentBytes, on_failure: OnFailure, telemetry: &Telemetry) -> Generation {
    load(&HOST, &with_picker(picker, on_failure), telemetry).await.expect("loads")
}

fn request(user_id: u64) -> Request {
    Request { coupon_id: 104, policy_id: 21, user_id, arrived_at_ms: 1, entropy: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_client_disconnects_does_not_block_later_changes() {
    let Fixture { pipelines, ledger, _data, .. } = Fixture::start().await;
    let mut change = Box::pin(pipelines.change(Scope::Default, pick_with("hash-user"), "anna"));
    // Polled by hand, the change advances one step at a time, so that the client can disconnect right after the
    // generation is recorded.
    while change.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if ledger.generations(None, 1).await.expect("reads")[0].number == 2 {
            break;
        }
    }
    drop(change);
    let number = pipelines.change(Scope::Default, pick_with("random"), "anna").await.expect("the next change");
    assert_eq!((number, pipelines.current().number()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_keeps_the_components_of_the_other_hooks() {
    let Fixture { pipelines, folder, _data, .. } = Fixture::start().await;
    let before = pipelines.current();
    std::fs::write(folder.join("quota.wasm"), b"half of a component").expect("writes");
    pipelines.change(Scope::Default, pick_with("hash-user"), "anna").await.expect("the picker changes");
    let after = pipelines.current();
    assert_eq!(after.version(Hook::UserLimit), before.version(Hook::UserLimit));
    assert_ne!(after.version(Hook::ShardPicker), before.version(Hook::ShardPicker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_restores_the_earlier_pipeline_and_its_components() {
    let Fixture { pipelines, folder, _data, .. } = Fixture::start().await;
    let before = pipelines.current();
    pipelines.change(Scope::Default, pick_with("hash-user"), "anna").await.expect("the picker changes");
    std::fs::remove_file(folder.join("random.wasm")).expect("removes");
    assert_eq!(pipelines.rollback(Scope::Default, "ben").await.expect("rolls back"), 3);
    assert_eq!(pipelines.current().version(Hook::ShardPicker), before.version(Hook::ShardPicker));
    let error = pipelines.rollback(Scope::Default, "ben").await.expect_err("there is only one earlier pipeline");
    assert!(matches!(error, ChangeError::NoEarlierPipeline), "{error}");
    let results: Vec<_> = pipelines.history().into_iter().map(|entry| entry.result.ok()).collect();
    assert_eq!(results, [None, Some(3), Some(2), Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_with_the_recorded_components() {
    let fixture = Fixture::start().await;
    fixture.pipelines.change(Scope::Default, pick_with("hash-user"), "anna").await.expect("the picker changes");
    std::fs::remove_file(fixture.folder.join("hash-user.wasm")).expect("removes");
    let restarted = fixture.start_again().await.expect("starts again");
    let (old, new) = (fixture.pipelines.current(), restarted.current());
    assert_eq!((new.number(), new.version(Hook::ShardPicker)), (2, old.version(Hook::ShardPicker)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_patch_lacks_keeps_its_value_while_the_policy_is_the_same() {
    let Fixture { pipelines, folder, _data, .. } = Fixture::start().await;
    std::fs::copy(built("sliding-window"), folder.join("sliding-window.wasm")).expect("copies a policy");
    let change = async |hook: &str, spec: serde_json::Value| {
        pipelines.change(Scope::Default, patch(json!({ hook: spec })), "anna").await.expect("the pipeline changes");
        pipelines.current().pipeline()
    };
    let user_limit = change("user-limit", json!({ "policy": "quota", "config": { "limit": 2 } })).await.user_limit;
    assert_eq!(user_limit.on_failure, OnFailure::Refuse);
    let user_limit = change("user-limit", json!({ "deadline_ms": 7 })).await.user_limit;
    assert_eq!((user_limit.deadline_ms, &user_limit.config["limit"]), (7, &2.into()));
    change("user-limit", json!({ "policy": "quota", "on_failure": "skip" })).await;
    let user_limit = change("user-limit", json!({ "policy": "sliding-window" })).await.user_limit;
    assert_eq!((user_limit.on_failure, user_limit.deadline_ms), (OnFailure::Refuse, 5));
    assert!(user_limit.config.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn native_defaults_refuse_on_failure_when_counters_are_unavailable() {
    let loader = Loader::with_host(Arc::clone(&HOST), true, &Telemetry::new());
    let generation = loader.load(1, &default_pipeline(), Trial::Skip).await.expect("loads");
    let usage = Usage { per_user_limit: 1, total: 1, remaining: 1 };
    let measured = Unavailable("unreachable".to_owned());
    assert_eq!(
        generation.admit(&request(1), Err(&measured), &usage).verdict,
        Err(PolicyUnavailable { hook: Hook::UserLimit })
    );
}
