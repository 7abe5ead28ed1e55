//! Machines that share a ledger, each with a `sluice.toml` of its own: the newest edit wins once, and a restart changes
//! nothing.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::config::{Config, Role};

use crate::harness::{Files, Fixture, eventually, share, shared_ports, stop_all};

const FILE: &str = "sluice.toml";
/// Longer than an edit needs to be noticed and followed.
const QUIET: Duration = Duration::from_secs(4);

fn pick_with(policy: &str) -> String {
    format!("[pipeline.shard-picker]\npolicy = \"{policy}\"\n")
}

fn limit_to(coupons: u32) -> String {
    format!("[pipeline.user-limit]\npolicy = \"quota\"\nconfig = {{ limit = {coupons} }}\n")
}

/// A machine with this file.
fn machine(text: &str) -> Files {
    let files = Files::new();
    edit(&files, text);
    files
}

/// Replaces the file as an editor does.
fn edit(files: &Files, text: &str) {
    std::fs::write(files.path("new"), text).expect("writes");
    std::fs::rename(files.path("new"), files.path(FILE)).expect("renames");
}

/// The ports of a ledger that several processes use.
async fn open(data: &Files) -> Ports {
    shared_ports(&data.config()).await
}

/// Starts a machine with the file that it has now, or without one.
async fn start(ports: &mut Ports, machine: Files, role: Role) -> Fixture {
    let path = machine.path(FILE);
    let Config { pipeline, file, is_from_file, .. } = match std::fs::read_to_string(&path) {
        Ok(text) => Config::parse(&path, &text, []).expect("is valid"),
        Err(_) => Config { file: Some(path), ..Config::default() },
    };
    let config = Config { role, pipeline, file, is_from_file, ..machine.config() };
    Fixture::on(share(ports), machine, config).await
}

/// Two gateways, of which the second starts last: its file is the newest.
async fn two_gateways(data: &Files, here: Files, there: Files) -> [Fixture; 2] {
    let mut ports = open(data).await;
    [start(&mut ports, here, Role::Gateway).await, start(&mut ports, there, Role::Gateway).await]
}

impl Fixture {
    async fn has(&self, generation: u64, picker: &str) {
        let has = async || (self.active().await == (generation, picker.to_owned())).then_some(());
        eventually(&format!("generation {generation} with {picker}"), has).await;
    }

    /// The active generation and its shard picker.
    async fn active(&self) -> (u64, String) {
        let active = self.pipeline().await;
        let picker = active["pipeline"]["shard-picker"]["policy"].as_str().expect("a name");
        (active["generation"].as_u64().expect("a number"), picker.to_owned())
    }

    async fn keeps(&self, generation: u64, picker: &str) {
        tokio::time::sleep(QUIET).await;
        assert_eq!(self.active().await, (generation, picker.to_owned()));
    }

    async fn refuses(&self, reason: &str) {
        let refused = async || {
            let newest = self.pipeline().await["history"][0]["error"].clone();
            newest.as_str().is_some_and(|error| error.contains(reason)).then_some(())
        };
        eventually("the edit is refused", refused).await;
    }

    async fn set_picker(&self, policy: &str) {
        let patch = json!({ "shard-picker": { "policy": policy } });
        let changed = self.operate(Method::PUT, "/admin/pipeline", Some(patch)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_on_one_machine_wins_once_and_restarts_in_any_order_change_nothing() {
    let data = Files::new();
    let [here, there] = two_gateways(&data, machine(&pick_with("hash-user")), machine(&pick_with("weighted"))).await;
    here.has(2, "weighted").await;
    edit(&here.files, &pick_with("round-robin"));
    there.has(3, "round-robin").await;
    let [mut one, mut other] = stop_all([here, there]).await;
    for _ in 0..2 {
        let [first, second] = two_gateways(&data, one, other).await;
        first.keeps(3, "round-robin").await;
        [other, one] = stop_all([first, second]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_change_outlives_restarts_of_machines_with_different_files() {
    let data = Files::new();
    let [here, there] = two_gateways(&data, machine(&pick_with("hash-user")), machine(&pick_with("weighted"))).await;
    here.has(2, "weighted").await;
    here.set_picker("random").await;
    there.has(3, "random").await;
    let [here, there] = stop_all([here, there]).await;
    edit(&there, &pick_with("round-robin"));
    let [here, there] = two_gateways(&data, here, there).await;
    here.has(4, "round-robin").await;
    let [here, there] = stop_all([here, there]).await;
    let [here, there] = two_gateways(&data, here, there).await;
    here.keeps(4, "round-robin").await;
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_restarts_without_its_file_changes_nothing() {
    let data = Files::new();
    let [here, there] = two_gateways(&data, machine(&pick_with("hash-user")), machine(&pick_with("weighted"))).await;
    here.has(2, "weighted").await;
    here.set_picker("random").await;
    let [here, there] = stop_all([here, there]).await;
    std::fs::remove_file(there.path(FILE)).expect("deletes");
    let [there, here] = two_gateways(&data, there, here).await;
    here.keeps(3, "random").await;
    edit(&there.files, &pick_with("round-robin"));
    here.has(4, "round-robin").await;
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_consumer_changes_no_pipeline() {
    let data = Files::new();
    let mut ports = open(&data).await;
    let gateway = start(&mut ports, machine(&pick_with("hash-user")), Role::Gateway).await;
    let consumer = start(&mut ports, machine(&pick_with("weighted")), Role::Consumer).await;
    gateway.keeps(1, "hash-user").await;
    edit(&consumer.files, &pick_with("round-robin"));
    gateway.keeps(1, "hash-user").await;
    drop(ports);
    let [gateway, consumer] = stop_all([gateway, consumer]).await;
    let mut ports = open(&data).await;
    let consumer = start(&mut ports, consumer, Role::Consumer).await;
    let gateway = start(&mut ports, gateway, Role::Gateway).await;
    gateway.keeps(1, "hash-user").await;
    stop_all([gateway, consumer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_edit_applies_its_other_half_also_after_a_restart_and_a_change_elsewhere() {
    let data = Files::new();
    let [here, there] = two_gateways(&data, machine(&pick_with("hash-user")), machine(&pick_with("weighted"))).await;
    here.has(2, "weighted").await;
    edit(&here.files, &(pick_with("round-robin") + &limit_to(0)));
    here.refuses("limit: invalid value").await;
    edit(&there.files, &(pick_with("weighted") + "[pipeline.rate-shaper]\ndeadline_ms = 9\n"));
    here.has(3, "weighted").await;
    let [here, there] = stop_all([here, there]).await;
    let [here, there] = two_gateways(&data, here, there).await;
    here.keeps(3, "weighted").await;
    edit(&here.files, &(pick_with("round-robin") + &limit_to(2)));
    there.has(4, "round-robin").await;
    let pipeline = there.pipeline().await["pipeline"].clone();
    assert_eq!(pipeline["user-limit"]["config"]["limit"], 2);
    assert_eq!(pipeline["rate-shaper"]["deadline_ms"], 9, "the edit did not name it");
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_section_whose_hook_has_its_default_already_publishes_nothing() {
    let files = machine(&pick_with("weighted"));
    let mut ports = Ports::open(&files.config()).await.expect("embedded ports open");
    let system = start(&mut ports, files, Role::Gateway).await;
    system.set_picker("random").await;
    edit(&system.files, "# no sections\n");
    system.keeps(2, "random").await;
    system.set_picker("hash-user").await;
    let history = system.pipeline().await["history"].clone();
    let generations: Vec<Value> =
        history.as_array().expect("a list").iter().map(|entry| entry["generation"].clone()).collect();
    assert_eq!(generations, [3, 2, 1]);
    drop(ports);
    let files = system.stop().await;

    let mut ports = Ports::open(&files.config()).await.expect("embedded ports open");
    let system = start(&mut ports, files, Role::Gateway).await;
    system.keeps(3, "hash-user").await;
    system.stop().await;
}
