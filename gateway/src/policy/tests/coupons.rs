//! Pipelines of coupons, which set some hooks and follow the default pipeline in the others.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::guest::picker;
use super::{Fixture, built, coupon, over, patch, pick_with};
use crate::counters::Hook;
use crate::coupon::GenerationNo;
use crate::ledger::GenerationRow;
use crate::policy::component::ComponentBytes;
use crate::policy::digest::Digest;
use crate::policy::{Author, ChangeError, PipelinePatch, Pipelines, Scope};

const PATIENCE: Duration = Duration::from_secs(20);

fn own() -> Scope {
    Scope::Coupon(coupon(104))
}

/// The policy of the shard picker, and the number of the generation.
fn picks(pipelines: &Pipelines, id: u64) -> (String, GenerationNo) {
    let deciding = pipelines.deciding(coupon(id));
    (deciding.pipeline().shard_picker.policy, deciding.number())
}

async fn change(pipelines: &Arc<Pipelines>, scope: Scope, patch: PipelinePatch) -> GenerationNo {
    pipelines.change(scope, patch, "anna").await.expect("the pipeline changes")
}

fn limit(number: u32) -> PipelinePatch {
    patch(json!({ "user-limit": { "config": { "limit": number } } }))
}

/// All live instances.
fn live(pipelines: &Pipelines) -> usize {
    let metrics = String::from_utf8(pipelines.loader.telemetry.render()).expect("text");
    let lines = metrics.lines().filter(|line| line.starts_with("sluice_policy_instances{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

impl Fixture {
    /// Records a pipeline of coupon 104 with this shard picker, as another process does.
    async fn record_own(&self, number: GenerationNo, picker: ComponentBytes) {
        let spec = json!({
            "policy": "guest", "on_failure": "refuse", "deadline_ms": 1000, "isolation": "warm", "config": {},
        });
        let hook = json!({ "digest": picker.digest, "spec": spec });
        let hooks = json!({ "rate-shaper": null, "user-limit": null, "shard-picker": hook });
        let pipeline = json!({ "hooks": hooks, "source": "admin" }).to_string();
        let row = GenerationRow { number, coupon: own().coupon(), pipeline, published_at_ms: 1 };
        let components = [(picker.digest.to_string(), picker.bytes)];
        assert!(self.ledger.publish_generation(&row, &components).await.expect("records"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_sets_a_hook_and_follows_the_default_pipeline_in_the_others() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    assert_eq!(change(&pipelines, own(), pick_with("hash-user")).await, 2);
    assert_eq!((picks(&pipelines, 104), picks(&pipelines, 105)), (("hash-user".into(), 2), ("random".into(), 1)));
    let deciding = pipelines.deciding(coupon(104));
    assert_eq!(Hook::ALL.map(|hook| deciding.is_own(hook)), [false, false, true]);
    assert_eq!(change(&pipelines, Scope::Default, limit(7)).await, 3);
    let deciding = pipelines.deciding(coupon(104));
    assert_eq!((deciding.number(), &deciding.pipeline().user_limit.config["limit"]), (3, &7.into()));
    assert_eq!(picks(&pipelines, 104), ("hash-user".into(), 3));
    assert_eq!(change(&pipelines, own(), pick_with("hash-user")).await, 3, "changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_of_a_coupon_keeps_what_it_set_before_and_changes_the_rest_from_the_default() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    let default = pipelines.current();
    change(&pipelines, own(), patch(json!({ "shard-picker": { "deadline_ms": 9 } }))).await;
    change(&pipelines, own(), limit(3)).await;
    let deciding = pipelines.deciding(coupon(104));
    assert_eq!(deciding.pipeline().shard_picker.deadline_ms, 9);
    assert_eq!(deciding.pipeline().user_limit.config["limit"], 3);
    assert_eq!(deciding.version(Hook::ShardPicker), default.version(Hook::ShardPicker));
    change(&pipelines, Scope::Default, pick_with("hash-user")).await;
    assert_eq!(picks(&pipelines, 104).0, "random", "the coupon keeps the version that it set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_removes_its_pipeline_follows_the_default_in_all_hooks_and_its_number_does_not_fall() {
    let fixture = Fixture::start().await;
    let pipelines = &fixture.pipelines;
    change(pipelines, own(), pick_with("hash-user")).await;
    assert_eq!(pipelines.clear(coupon(104), "anna").await.expect("is removed"), 3);
    assert_eq!(picks(pipelines, 104), ("random".into(), 3));
    assert_eq!(pipelines.clear(coupon(104), "anna").await.expect("nothing to do"), 3);
    assert_eq!(pipelines.clear(coupon(105), "anna").await.expect("nothing to do"), 1);
    let restarted = fixture.start_again().await.expect("starts again");
    assert_eq!(picks(&restarted, 104), ("random".into(), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_a_coupon_returns_to_what_it_set_before() {
    let fixture = Fixture::start().await;
    let pipelines = &fixture.pipelines;
    let refused = pipelines.rollback(own(), "ben").await.expect_err("nothing is set");
    assert!(matches!(refused, ChangeError::NoEarlierPipeline), "{refused}");
    change(pipelines, own(), pick_with("hash-user")).await;
    let refused = pipelines.rollback(own(), "ben").await.expect_err("the first one has none before it");
    assert!(matches!(refused, ChangeError::NoEarlierPipeline), "{refused}");
    change(pipelines, own(), limit(3)).await;
    std::fs::remove_file(fixture.folder.join("hash-user.wasm")).expect("removes");
    assert_eq!(pipelines.rollback(own(), "ben").await.expect("rolls back"), 4);
    let deciding = pipelines.deciding(coupon(104));
    assert_eq!(Hook::ALL.map(|hook| deciding.is_own(hook)), [false, false, true]);
    let history = pipelines.history_of(coupon(104)).await.expect("reads").into_iter();
    let history: Vec<_> = history.map(|entry| (entry.author, entry.result.ok())).collect();
    let (anna, ben) = (Author::admin("anna"), Author::rollback("ben"));
    assert_eq!(history, [(ben, Some(4)), (anna.clone(), Some(3)), (anna, Some(2))]);
    assert_eq!(pipelines.history().len(), 1, "the default pipeline did not change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_the_default_pipeline_skips_the_changes_of_coupons() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    change(&pipelines, Scope::Default, pick_with("hash-user")).await;
    change(&pipelines, own(), limit(3)).await;
    assert_eq!(pipelines.rollback(Scope::Default, "ben").await.expect("rolls back"), 4);
    assert_eq!((picks(&pipelines, 105), picks(&pipelines, 104)), (("random".into(), 4), ("random".into(), 4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_with_the_same_version_and_configuration_share_instances() {
    let Fixture { pipelines, folder, _data, .. } = Fixture::start().await;
    std::fs::copy(built("weighted"), folder.join("weighted.wasm")).expect("copies a policy");
    let before = live(&pipelines);
    change(&pipelines, own(), pick_with("weighted")).await;
    let each = live(&pipelines) - before;
    for id in 200..260 {
        change(&pipelines, Scope::Coupon(coupon(id)), pick_with("weighted")).await;
    }
    assert_eq!(live(&pipelines), before + each);
    change(&pipelines, Scope::Default, pick_with("weighted")).await;
    // Off the change's path.
    let dropped = async {
        while live(&pipelines) != before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), dropped).await.expect("nothing picks with `random` any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_pipelines_of_coupons_except_of_campaigns_that_are_over() {
    let fixture = Fixture::start().await;
    change(&fixture.pipelines, own(), pick_with("hash-user")).await;
    change(&fixture.pipelines, Scope::Coupon(over()), pick_with("hash-user")).await;
    std::fs::remove_file(fixture.folder.join("hash-user.wasm")).expect("removes");
    let restarted = fixture.start_again().await.expect("starts again");
    assert_eq!(picks(&restarted, 104), ("hash-user".into(), 2));
    assert_eq!(picks(&restarted, over().get()), ("random".into(), 1));
    assert_eq!(change(&restarted, own(), limit(3)).await, 4);
    fixture.pipelines.forget_campaigns_that_are_over().await;
    assert_eq!(picks(&fixture.pipelines, over().get()), ("random".into(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_coupon_and_of_the_default_pipeline_in_two_processes_are_made_on_top_of_each_other() {
    let fixture = Fixture::start().await;
    let (here, there) = (&fixture.pipelines, fixture.start_again().await.expect("starts"));
    assert_eq!(change(here, own(), pick_with("hash-user")).await, 2);
    assert_eq!(change(&there, own(), limit(3)).await, 3);
    assert_eq!(change(here, Scope::Default, limit(9)).await, 4);
    assert_eq!(change(&there, Scope::Coupon(coupon(105)), pick_with("hash-user")).await, 5);
    let deciding = [here, &there].map(|pipelines| pipelines.deciding(coupon(104)));
    for deciding in deciding {
        assert_eq!(deciding.number(), 4);
        assert_eq!(deciding.pipeline().shard_picker.policy, "hash-user");
        assert_eq!(deciding.pipeline().user_limit.config["limit"], 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_a_coupon_that_does_not_load_leaves_the_one_before_and_is_tried_again() {
    let fixture = Fixture::start().await;
    change(&fixture.pipelines, own(), pick_with("hash-user")).await;
    let damaged = ComponentBytes { digest: Digest::of(b"abc"), ..picker("", "") };
    fixture.record_own(3, damaged).await;
    fixture.pipelines.load_newest().await.expect("reads");
    let restarted = fixture.start_again().await.expect("starts again");
    for pipelines in [&fixture.pipelines, &restarted] {
        assert_eq!(picks(pipelines, 104), ("hash-user".into(), 2));
        let not_loaded = pipelines.not_loaded(own()).expect("is reported");
        assert_eq!((not_loaded.generation, pipelines.not_loaded(Scope::Default)), (3, None));
        assert!(not_loaded.error.ends_with("missing or damaged: upload the policy again"), "{}", not_loaded.error);
    }
    let follower = tokio::spawn(restarted.follow().run);
    restarted.upload("guest", picker("", "").bytes.to_vec(), None, "anna").await.expect("is a policy");
    fixture.record_own(4, picker("", "")).await;
    let followed = async {
        while picks(&restarted, 104) != ("guest".into(), 4) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, followed).await.expect("the newest generation is loaded");
    assert!(restarted.all_not_loaded().is_empty());
    follower.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_a_coupon_passes_the_same_checks() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    pipelines.upload("traps", picker("", "unreachable").bytes.to_vec(), None, "anna").await.expect("is a policy");
    for (spec, expected) in [
        (json!({ "policy": "traps" }), "shard-picker: the policy failed its trial"),
        (json!({ "policy": "unknown" }), "the policy `unknown` is unknown"),
        (json!({ "on_failure": "skip" }), "pipeline.shard-picker.on_failure: expected `fallback` or `refuse`"),
        (json!({ "budget_fuel": 10 }), "shard-picker: a decision costs "),
    ] {
        let refused = pipelines.change(own(), patch(json!({ "shard-picker": spec })), "anna").await;
        let refused = refused.expect_err("is refused").to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
    assert_eq!(picks(&pipelines, 104), ("random".into(), 1));
}
