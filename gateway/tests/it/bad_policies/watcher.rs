//! The folder of policies and `sluice.toml` are watched: a change of either is a change of what decides.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::{Gateway, eventually, policy};

/// A file that was replaced is noticed, compiled and in force within this time.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing may happen after a change that is none.
const QUIET: Duration = Duration::from_millis(1500);

impl Gateway {
    async fn generation(&self) -> u64 {
        self.pipeline().await["generation"].as_u64().expect("a generation")
    }

    async fn reaches_generation(&self, number: u64) {
        eventually("a new generation", NOTICED_WITHIN, async || (self.generation().await >= number).then_some(()))
            .await;
    }

    /// Waits until the newest change is a refusal for this reason.
    async fn refuses_a_change(&self, reason: &str) {
        let refused = async || {
            let newest = self.pipeline().await["history"][0].clone();
            newest["error"].as_str().is_some_and(|error| error.contains(reason)).then_some(())
        };
        eventually("the change is refused", NOTICED_WITHIN, refused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_replaced_in_the_folder_decides_from_then_on() {
    let gateway = Gateway::start().await;
    let before = gateway.pipeline().await["hooks"]["shard-picker"]["version"].clone();
    gateway.home.install("random", &policy("round-robin"));
    gateway.reaches_generation(2).await;
    let after = gateway.pipeline().await["hooks"]["shard-picker"]["version"].clone();
    assert_ne!(before, after);
    assert_eq!(Crowd::before(&gateway, 104).ask(1).await.receipt().generation, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_component_in_the_folder_changes_nothing_and_a_good_one_after_it_does() {
    let gateway = Gateway::start().await;
    let picker = policy("random");
    gateway.home.install("random", &picker[..picker.len() / 2]);
    gateway.refuses_a_change("not a valid component").await;
    assert_eq!(Crowd::before(&gateway, 104).ask(1).await.receipt().generation, Some(1));
    let refused = gateway.metrics().await.value("sluice_policy_swaps_total", &[("outcome", "refused")]);
    assert!(refused >= 1.0, "{refused}");

    gateway.home.install("random", &policy("weighted"));
    gateway.reaches_generation(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_no_hook_names_changes_nothing() {
    let gateway = Gateway::start().await;
    gateway.home.install("something-new", &policy("weighted"));
    gateway.home.install("random", &policy("random"));
    tokio::time::sleep(QUIET).await;
    assert_eq!(gateway.generation().await, 1, "neither a new name nor the same bytes are a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_edited_in_the_file_is_in_force_without_a_restart() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    gateway.reaches_generation(2).await;
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "hash-user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_changes_nothing() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = 7\n");
    gateway.refuses_a_change("invalid type: integer `7`").await;
    gateway.home.configure("[pipeline.user-limit]\npolicy = \"quota\"\nconfig = { limit = 0 }\n");
    gateway.refuses_a_change("limit: invalid value").await;
    assert_eq!(gateway.generation().await, 1);
    assert!(Crowd::before(&gateway, 104).ask(1).await.is_accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_change_wins_whichever_way_it_came_and_survives_a_restart() {
    let mut gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    gateway.reaches_generation(2).await;
    gateway.pick_by("weighted").await;
    gateway.kill().await;
    gateway.start_again().await;
    let after = gateway.pipeline().await;
    assert_eq!(after["pipeline"]["shard-picker"]["policy"], "weighted", "the file has not changed since");
}
