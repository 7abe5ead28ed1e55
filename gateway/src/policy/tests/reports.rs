//! What is reported of a call that fails.

use std::sync::Arc;

use super::guest::{picker, with_memories};
use super::{HOST, generation_with_picker, request, with_picker};
use crate::counters::Hook;
use crate::policy::component::ComponentBytes;
use crate::policy::instance::Instance;
use crate::policy::loader::{Loader, Trial};
use crate::policy::wire::Shard;
use crate::policy::{Generation, OnFailure};
use crate::telemetry::Telemetry;

const SHARDS: [Shard; 1] = [Shard { shard_no: 0, remaining: 9, unsettled: 2, lag_records: 1 }];
/// Trial calls come from user 0.
const TRAP: &str = "(if (i64.ne (local.get 2) (i64.const 0)) (then unreachable))";

async fn generation(picker: ComponentBytes) -> Generation {
    generation_with_picker(picker, OnFailure::Refuse, &Telemetry::new()).await
}

fn fail(generation: &Generation, user: u64) {
    generation.pick(&request(user), Ok(&[]), &SHARDS).verdict.expect_err("no decision");
}

/// What the picker leaves in its memory as the message of a panic.
async fn message_after_a_trap(memory: &str) -> String {
    let memory = format!("(memory (export \"memory\") 1) {memory}");
    let generation = generation(with_memories(&memory, "", TRAP)).await;
    fail(&generation, 7);
    generation.failures(Hook::ShardPicker)[0].detail.clone().expect("a detail")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_trap_is_reported_with_its_place_and_the_facts_of_the_call() {
    let generation = generation(picker("", TRAP)).await;
    fail(&generation, 7);
    fail(&generation, 8);
    let failures = generation.failures(Hook::ShardPicker);
    assert_eq!(failures.len(), 1, "{failures:?}");
    let report = failures[0];
    assert_eq!(report.reason, "trap");
    let detail = report.detail.as_deref().expect("a detail");
    assert!(detail.starts_with("wasm trap: wasm `unreachable` instruction executed (at module offset 0x"), "{detail}");
    let facts = "(Request { coupon_id: 104, policy_id: 21, user_id: 7, arrived_at_ms: 1, entropy: 1 }, [], \
        [Shard { shard_no: 0, remaining: 9, unsettled: 2, lag_records: 1 }])";
    assert_eq!(report.facts.as_deref(), Some(facts));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_reported_with_the_message_that_the_policy_left() {
    let message = message_after_a_trap(
        r#"(global (export "sluice-panic") i32 (i32.const 128)) (data (i32.const 128) "\10\00\00\00no stock\0a\1b[31min 7")"#,
    )
    .await;
    assert!(message.starts_with("no stock [31min (at module offset 0x"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_lies_outside_of_the_memory_is_ignored() {
    let text = r#"(data (i32.const 65528) "\08\00\00\00text")"#;
    for (address, kind) in [("65528", "i32"), ("-1", "i32"), ("65535", "i32"), ("0", "i64")] {
        let global = format!("(global (export \"sluice-panic\") {kind} ({kind}.const {address}))");
        let message = message_after_a_trap(&format!("{global} {text}")).await;
        assert!(message.starts_with("wasm trap: wasm `unreachable`"), "{address}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_verdict_is_reported() {
    let invalid = "(if (i64.ne (local.get 2) (i64.const 0)) (then (return (i32.const 7))))";
    let generation = generation(picker("", invalid)).await;
    fail(&generation, 7);
    let report = generation.failures(Hook::ShardPicker)[0];
    assert_eq!((report.reason, report.detail.as_deref()), ("answer", Some("invalid verdict 7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_fails_names_the_trap_and_the_facts() {
    let loader = Loader::with_host(Arc::clone(&HOST), false, &Telemetry::new());
    let trapping = with_picker(picker("", "unreachable"), OnFailure::Refuse);
    let loaded = loader.load(1, &trapping, Trial::Run).await.map(|_| ());
    let error = loaded.expect_err("every call traps").to_string();
    let beginning = "shard-picker: the policy failed its trial: trap in each of 3 calls: wasm trap: wasm `unreachable`";
    assert!(error.starts_with(beginning), "{error}");
    assert!(error.contains("called with (Request { coupon_id: 0, "), "{error}");
}

#[tokio::test]
async fn a_trap_in_configure_is_reported_in_one_line() {
    let compiled = HOST.compile(&picker("unreachable", "")).await.expect("compiles");
    let started = Instance::<[Shard], u32>::start(&compiled, Hook::ShardPicker, "{}");
    let error = started.map(|_| ()).expect_err("it traps").to_string();
    assert!(error.starts_with("the policy failed its trial: configure: wasm trap: wasm `unreachable`"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
