//! Which version of a policy a pipeline gets, and that only intact components run.

use std::time::Duration;

use serde_json::json;

use super::guest::{picker, with_other_parameters};
use super::{Fixture, built, patch, pick_with};
use crate::counters::Hook;
use crate::ledger::PolicyVersion;
use crate::policy::digest::Digest;
use crate::policy::{ChangeError, Scope};

/// A result that is an error is 1 in memory.
const REFUSES_ITS_CONFIGURATION: &str = "(i32.store8 (i32.const 16) (i32.const 1))";

fn read(policy: &str) -> Vec<u8> {
    std::fs::read(built(policy)).expect("reads")
}

impl Fixture {
    /// Stores bytes under a digest.
    async fn store(&self, name: &str, digest: Digest, bytes: &[u8]) {
        let version = PolicyVersion {
            name: name.to_owned(),
            digest: digest.to_string(),
            world: "shard-picker".to_owned(),
            contract: "0.1.0".to_owned(),
            bytes: bytes.len() as u64,
            signature: None,
            source: "admin".to_owned(),
            registered_by: None,
            registered_at_ms: 1,
        };
        self.ledger.register_policy(&version, bytes).await.expect("registers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_needs_a_configuration_is_uploaded_and_refused_only_when_it_is_named_without_one() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    let component = picker(REFUSES_ITS_CONFIGURATION, "");
    pipelines.upload("strict", component.bytes.to_vec(), None, "anna").await.expect("is a policy");
    let refused =
        pipelines.change(Scope::Default, pick_with("strict"), "anna").await.expect_err("is refused").to_string();
    assert!(refused.starts_with("shard-picker: the policy refuses its configuration"), "{refused}");
    assert_eq!(pipelines.current().number(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_parameters_have_other_names_is_a_policy() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    pipelines.upload("mine", with_other_parameters().bytes.to_vec(), None, "anna").await.expect("is a policy");
    pipelines.change(Scope::Default, pick_with("mine"), "anna").await.expect("decides");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_bytes_have_another_digest_is_refused_until_it_is_uploaded_again() {
    let fixture = Fixture::start().await;
    let pipelines = &fixture.pipelines;
    fixture.store("mine", Digest::of(&read("weighted")), &read("hash-user")).await;
    let listed = pipelines.list().await.expect("lists without reading a component");
    assert_eq!(listed[0].name, "mine");
    let refused = pipelines.change(Scope::Default, pick_with("mine"), "anna").await;
    assert!(matches!(&refused, Err(ChangeError::Damaged { .. })), "{refused:?}");
    assert_eq!(pipelines.current().number(), 1);
    pipelines.upload("mine", read("weighted"), None, "anna").await.expect("is a policy");
    pipelines.change(Scope::Default, pick_with("mine"), "anna").await.expect("is intact");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_names_no_policy_keeps_the_version_that_runs() {
    let fixture = Fixture::start().await;
    let pipelines = &fixture.pipelines;
    let before = pipelines.current();
    pipelines.upload("random", read("hash-user"), None, "anna").await.expect("is a policy");
    let change = async |spec| pipelines.change(Scope::Default, patch(json!({ "shard-picker": spec })), "anna").await;
    change(json!({ "deadline_ms": 9 })).await.expect("changes");
    assert_eq!(pipelines.current().version(Hook::ShardPicker), before.version(Hook::ShardPicker));
    change(json!({ "policy": "random" })).await.expect("changes");
    assert_ne!(pipelines.current().version(Hook::ShardPicker), before.version(Hook::ShardPicker));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_newer_than_a_broken_file_and_a_broken_file_is_newer_than_an_upload_before_it() {
    let fixture = Fixture::start().await;
    let pipelines = &fixture.pipelines;
    pipelines.upload("mine", read("hash-user"), None, "anna").await.expect("is a policy");
    tokio::time::sleep(Duration::from_millis(2)).await;
    std::fs::write(fixture.folder.join("mine.wasm"), b"half of a component").expect("writes");
    let refused =
        pipelines.change(Scope::Default, pick_with("mine"), "anna").await.expect_err("is refused").to_string();
    assert!(refused.ends_with("mine.wasm is not a WebAssembly component: build it with `policies/build`"), "{refused}");
    tokio::time::sleep(Duration::from_millis(2)).await;
    pipelines.upload("mine", read("weighted"), None, "anna").await.expect("is a policy");
    pipelines.change(Scope::Default, pick_with("mine"), "anna").await.expect("changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_while_the_gateway_was_stopped_is_applied_by_its_next_start() {
    let fixture = Fixture::start().await;
    let copy = |policy: &str| std::fs::copy(built(policy), fixture.folder.join("random.wasm")).expect("copies");
    copy("hash-user");
    let second = fixture.start_again().await.expect("starts again").current();
    assert_eq!(second.number(), 2);
    copy("random");
    let third = fixture.start_again().await.expect("starts again").current();
    assert_eq!(third.number(), 3, "the same version again");
    assert_eq!(fixture.start_again().await.expect("starts again").current().number(), 3);
    assert_eq!(fixture.pipelines.list().await.expect("lists").iter().filter(|line| line.name == "random").count(), 2);
}
