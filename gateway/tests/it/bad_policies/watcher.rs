//! Changes of the policies' folder and of `sluice.toml` are activated without a restart.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::{Gateway, eventually, policy};

/// From replacing a file until its policy is compiled and active.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the watcher needs to notice a change.
const QUIET: Duration = Duration::from_millis(1500);

impl Gateway {
    async fn generation(&self) -> u64 {
        self.pipeline().await["generation"].as_u64().expect("a generation")
    }

    async fn wait_for_generation(&self, number: u64) {
        eventually("a new generation", NOTICED_WITHIN, async || (self.generation().await >= number).then_some(()))
            .await;
    }

    /// Waits for the refusal to appear in the history.
    async fn wait_for_refusal(&self, reason: &str) {
        let refused = async || {
            let newest = self.pipeline().await["history"][0].clone();
            newest["error"].as_str().is_some_and(|error| error.contains(reason)).then_some(())
        };
        eventually("the change is refused", NOTICED_WITHIN, refused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_a_component_in_the_folder_activates_it() {
    let gateway = Gateway::start().await;
    let before = gateway.pipeline().await["hooks"]["shard-picker"]["version"].clone();
    gateway.home.install("random", &policy("round-robin"));
    gateway.wait_for_generation(2).await;
    let after = gateway.pipeline().await["hooks"]["shard-picker"]["version"].clone();
    assert_ne!(before, after);
    assert_eq!(Crowd::at(&gateway, 104).request(1).await.receipt().generation, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_component_in_the_folder_is_refused_and_a_valid_one_after_it_is_activated() {
    let gateway = Gateway::start().await;
    let picker = policy("random");
    gateway.home.install("random", &picker[..picker.len() / 2]);
    gateway.wait_for_refusal("not a valid component").await;
    assert_eq!(Crowd::at(&gateway, 104).request(1).await.receipt().generation, Some(1));
    let refused = gateway.metrics().await.value("sluice_policy_swaps_total", &[("outcome", "refused")]);
    assert!(refused >= 1.0, "{refused}");

    gateway.home.install("random", &policy("weighted"));
    gateway.wait_for_generation(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_no_hook_names_leaves_the_pipeline_unchanged() {
    let gateway = Gateway::start().await;
    gateway.home.install("something-new", &policy("weighted"));
    gateway.home.install("random", &policy("random"));
    tokio::time::sleep(QUIET).await;
    assert_eq!(gateway.generation().await, 1, "neither a new name nor the same bytes are a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn editing_the_pipeline_in_the_file_activates_it_without_a_restart() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    gateway.wait_for_generation(2).await;
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "hash-user");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_leaves_the_pipeline_unchanged() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = 7\n");
    gateway.wait_for_refusal("invalid type: integer `7`").await;
    gateway.home.configure("[pipeline.user-limit]\npolicy = \"quota\"\nconfig = { limit = 0 }\n");
    gateway.wait_for_refusal("limit: invalid value").await;
    assert_eq!(gateway.generation().await, 1);
    assert!(Crowd::at(&gateway, 104).request(1).await.is_accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_change_from_any_source_wins_and_survives_a_restart() {
    let mut gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    gateway.wait_for_generation(2).await;
    gateway.set_shard_picker("weighted").await;
    gateway.kill().await;
    gateway.restart().await;
    let after = gateway.pipeline().await;
    assert_eq!(after["pipeline"]["shard-picker"]["policy"], "weighted", "the file has not changed since");
}
