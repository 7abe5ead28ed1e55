//! What a restart continues with, and which changes publish a generation.

use std::time::Duration;

use serde_json::json;

use super::guest::picker;
use super::{Fixture, default_pipeline, patch, pick_with};
use crate::counters::PerHook;
use crate::policy::component::ComponentBytes;
use crate::policy::digest::Digest;
use crate::policy::records::{self, ObservedFiles};
use crate::policy::{Author, Pipeline, Scope};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_changes_nothing_publishes_no_generation() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    for same in [json!({}), json!({ "shard-picker": { "policy": "random" } })] {
        assert_eq!(pipelines.change(Scope::Default, patch(same), "anna").await.expect("accepted"), 1);
    }
    assert_eq!(pipelines.history().len(), 1, "the first generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_survives_a_restart() {
    let fixture = Fixture::start().await;
    fixture.pipelines.change(Scope::Default, pick_with("hash-user"), "anna").await.expect("the picker changes");
    fixture.pipelines.rollback(Scope::Default, "ben").await.expect("rolls back");
    let restarted = fixture.start_again().await.expect("starts again");
    let history = restarted.history().into_iter().map(|entry| (entry.author, entry.result.ok()));
    let expected = [(Author::rollback("ben"), 3), (Author::admin("anna"), 2), (Author::FILE, 1)];
    assert!(history.eq(expected.map(|(author, number)| (author, Some(number)))));
}

/// Records the default pipeline with another shard picker.
async fn record(fixture: &Fixture, number: u64, picker: ComponentBytes) {
    let mut resolved = default_pipeline();
    resolved.components.shard_picker = picker;
    let observed = ObservedFiles { file: Pipeline::default(), folder: PerHook::default() };
    records::publish(&*fixture.ledger, number, &resolved, observed, &Author::admin("anna")).await.expect("records");
}

fn broken() -> ComponentBytes {
    ComponentBytes::unsigned(b"not a component".to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_with_the_newest_recorded_generation_that_loads() {
    let fixture = Fixture::start().await;
    fixture.pipelines.change(Scope::Default, pick_with("hash-user"), "anna").await.expect("the picker changes");
    record(&fixture, 3, broken()).await;
    let restarted = fixture.start_again().await.expect("starts again");
    let active = restarted.current();
    assert_eq!((active.number(), active.pipeline().shard_picker.policy.as_str()), (2, "hash-user"));
    let not_loaded = restarted.not_loaded(Scope::Default).expect("reported");
    assert_eq!(not_loaded.generation, 3);
    assert!(not_loaded.error.starts_with("shard-picker: not a WebAssembly component"), "{}", not_loaded.error);
    let number =
        restarted.rollback(Scope::Default, "ben").await.expect("a rollback undoes the generation that does not load");
    assert_eq!((number, restarted.current().pipeline()), (4, active.pipeline()));
    assert_eq!(restarted.not_loaded(Scope::Default), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_whose_component_is_damaged_is_not_loaded() {
    let fixture = Fixture::start().await;
    let damaged = ComponentBytes { digest: Digest::of(b"abc"), ..picker("", "") };
    record(&fixture, 2, damaged).await;
    let restarted = fixture.start_again().await.expect("starts again");
    let error = &restarted.not_loaded(Scope::Default).expect("reported").error;
    assert_eq!(restarted.current().number(), 1);
    assert!(error.ends_with("in the ledger is missing or damaged: upload the policy again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_did_not_load_is_tried_again() {
    let fixture = Fixture::start().await;
    record(&fixture, 2, broken()).await;
    let restarted = fixture.start_again().await.expect("starts again");
    assert_eq!(restarted.current().number(), 1);
    let follower = tokio::spawn(restarted.follow().run);
    record(&fixture, 3, picker("", "")).await;
    let followed = async {
        while restarted.current().number() != 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed).await.expect("the newest generation is loaded");
    assert_eq!(restarted.not_loaded(Scope::Default), None);
    follower.abort();
}
