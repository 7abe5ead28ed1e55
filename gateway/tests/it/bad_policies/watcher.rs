//! Changes of the policies' folder and of `sluice.toml` are activated without a restart.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::{Gateway, Launch, eventually, policy};

/// From replacing a file until its policy is compiled and active. On a busy machine, the low priority of the compiler
/// leaves it little time.
const NOTICED_WITHIN: Duration = Duration::from_secs(120);
const LOST_FOLDER: &str = "policies folder unreadable; the active policies still decide";
const LOST_FILE: &str = "configuration file deleted: the pipeline is unchanged, also after a restart; restore the file, \
                         otherwise all other options have their defaults after a restart";
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

    async fn wait_for_log_line(&self, message: &str) -> serde_json::Value {
        eventually(message, NOTICED_WITHIN, async || self.log_lines(message).pop()).await
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
async fn a_file_that_is_deleted_changes_nothing_and_one_that_is_created_is_applied() {
    let mut gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    gateway.wait_for_generation(2).await;
    std::fs::remove_file(gateway.home.path().join("sluice.toml")).expect("deletes");
    gateway.wait_for_log_line(LOST_FILE).await;
    gateway.stop().await;
    let (http, admin) = (gateway.http.to_string(), gateway.admin.to_string());
    let variables = [("HTTP__LISTEN", &*http), ("ADMIN__LISTEN", &admin), ("TELEMETRY__LOG_FORMAT", "json")];
    gateway.restart_as(Launch::with(&variables)).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "hash-user");
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"weighted\"\n");
    gateway.wait_for_generation(3).await;
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "weighted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_logs_which_hooks_it_changed_and_which_sections_need_a_restart() {
    let gateway = Gateway::start().await;
    let text = "[settlement]\nbatch_records_max = 9\n\n[pipeline.shard-picker]\npolicy = \"hash-user\"\n";
    gateway.home.configure(text);
    let changed = gateway.wait_for_log_line("pipeline changed").await;
    assert_eq!((&changed["generation"], &changed["changed"]), (&2.into(), &"shard-picker=hash-user".into()));
    let waiting = "sluice.toml changed: [settlement] applies after a restart";
    gateway.home.configure(&format!("{text}deadline_ms = 7\n"));
    gateway.wait_for_generation(3).await;
    assert_eq!(gateway.log_lines(waiting).len(), 1, "it is logged once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_leaves_the_pipeline_unchanged() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = 7\n");
    gateway.wait_for_refusal("found integer `7`").await;
    gateway.home.configure("[pipeline.user-limit]\npolicy = \"quota\"\nconfig = { limit = 0 }\n");
    gateway.wait_for_refusal("limit: invalid value").await;
    assert_eq!(gateway.generation().await, 1);
    assert!(Crowd::at(&gateway, 104).request(1).await.is_accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_and_one_that_is_cut_off_are_refused_and_change_nothing() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    gateway.wait_for_generation(2).await;
    let path = gateway.home.path().join("sluice.toml");
    let whole = std::fs::read_to_string(&path).expect("reads");
    for length in [0, whole.find("_format").expect("a key")] {
        std::fs::write(&path, &whole[..length]).expect("writes");
        gateway.wait_for_refusal("the file is empty or cut off").await;
        std::fs::write(&path, &whole).expect("writes");
        tokio::time::sleep(QUIET).await;
        assert_eq!(gateway.generation().await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_names_a_component_is_applied_once_the_component_is_there() {
    let gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"fresh-one\"\n");
    gateway.wait_for_refusal("the policy `fresh-one` is unknown").await;
    gateway.home.install("fresh-one", b"half of a component");
    gateway.wait_for_refusal("policies/fresh-one.wasm is not a WebAssembly component: build it").await;
    gateway.home.install("fresh-one", &policy("weighted"));
    gateway.wait_for_generation(2).await;
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "fresh-one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_an_operator_is_newer_than_a_file_that_was_refused_before() {
    let mut gateway = Gateway::start().await;
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"fresh-one\"\n");
    gateway.wait_for_refusal("the policy `fresh-one` is unknown").await;
    gateway.set_shard_picker("weighted").await;
    gateway.home.install("fresh-one", &policy("random"));
    tokio::time::sleep(QUIET).await;
    gateway.stop().await;
    gateway.restart().await;
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "weighted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_file_is_applied_as_a_whole() {
    let gateway = Gateway::start().await;
    let picker = "[pipeline.shard-picker]\npolicy = \"hash-user\"\n";
    gateway.home.configure(&format!("{picker}[pipeline.user-limit]\npolicy = \"quota\"\nconfig = {{ limit = 0 }}\n"));
    gateway.wait_for_refusal("limit: invalid value").await;
    gateway.home.configure(&format!("{picker}[pipeline.user-limit]\npolicy = \"quota\"\nconfig = {{ limit = 2 }}\n"));
    gateway.wait_for_generation(2).await;
    let pipeline = gateway.pipeline().await["pipeline"].clone();
    assert_eq!(
        (&pipeline["shard-picker"]["policy"], &pipeline["user-limit"]["config"]["limit"]),
        (&"hash-user".into(), &2.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_removed_and_made_again_is_watched() {
    let gateway = Gateway::start().await;
    let folder = gateway.home.path().join("policies");
    std::fs::rename(&folder, gateway.home.path().join("old")).expect("renames");
    gateway.wait_for_log_line(LOST_FOLDER).await;
    std::fs::create_dir(&folder).expect("creates");
    gateway.home.install("random", &policy("weighted"));
    gateway.wait_for_generation(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_replaced_is_followed() {
    let gateway = Gateway::start().await;
    let at = |name: &str| gateway.home.path().join(name);
    let text = std::fs::read_to_string(at("sluice.toml")).expect("reads");
    for (version, policy) in [("..1", "random"), ("..2", "hash-user")] {
        std::fs::create_dir(at(version)).expect("creates");
        let text = format!("{text}[pipeline.shard-picker]\npolicy = \"{policy}\"\n");
        std::fs::write(at(version).join("sluice.toml"), text).expect("writes");
    }
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, at("new")).expect("links");
        std::fs::rename(at("new"), at(name)).expect("renames");
    };
    link("..1", "..data");
    link("..data/sluice.toml", "sluice.toml");
    tokio::time::sleep(QUIET).await;
    assert_eq!(gateway.generation().await, 1);
    // As Kubernetes updates a ConfigMap.
    link("..2", "..data");
    std::fs::remove_dir_all(at("..1")).expect("removes");
    gateway.wait_for_generation(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_beside_that_is_written_all_the_time_delays_nothing() {
    let gateway = Gateway::start().await;
    let beside = gateway.home.path().join("policies/beside.log");
    let writing = tokio::spawn(async move {
        for line in 0.. {
            std::fs::write(&beside, format!("{line}")).expect("writes");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    gateway.home.install("random", &policy("weighted"));
    gateway.wait_for_generation(2).await;
    writing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_no_regular_file_or_far_too_large_is_reported_and_never_read() {
    let gateway = Gateway::start().await;
    let (path, new) = (gateway.home.path().join("policies/random.wasm"), gateway.home.path().join("new"));
    let peak = gateway.memory().peak;
    std::fs::File::create(&new).and_then(|file| file.set_len(200 * 1024 * 1024)).expect("a large file");
    std::fs::rename(&new, &path).expect("renames");
    gateway.wait_for_refusal("expected at most 33554432 bytes, found 209715200").await;
    assert!(gateway.memory().peak < peak + 100 * 1024 * 1024, "{:?}", gateway.memory());

    assert!(std::process::Command::new("mkfifo").arg(&new).status().expect("runs mkfifo").success());
    std::fs::rename(&new, &path).expect("renames");
    gateway.wait_for_refusal("expected a regular file").await;
    let listed = gateway.operator.get("/admin/policies").await.json();
    let is_broken = |line: &&serde_json::Value| line["name"] == "random" && line["digest"].is_null();
    let broken = listed.as_array().expect("a list").iter().find(is_broken).expect("is listed");
    assert!(broken["error"].as_str().is_some_and(|error| error.contains("expected a regular file")), "{broken}");

    std::fs::remove_file(&path).expect("removes");
    gateway.home.install("random", &policy("weighted"));
    gateway.wait_for_generation(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_components_a_broken_one_does_not_keep_the_good_one_out() {
    let gateway = Gateway::start().await;
    let version = async |hook: &str| gateway.pipeline().await["hooks"][hook]["version"].clone();
    let (limit, picker) = (version("user-limit").await, version("shard-picker").await);
    gateway.home.install("quota", b"half of a component");
    gateway.home.install("random", &policy("weighted"));
    gateway.wait_for_generation(2).await;
    assert_eq!(version("user-limit").await, limit);
    assert_ne!(version("shard-picker").await, picker);
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
