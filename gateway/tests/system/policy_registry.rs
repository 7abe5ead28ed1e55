//! Gateways on one ledger, each with a policies folder of its own, share the versions of the policies.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::config::Role;

use crate::harness::{Answer, Files, Fixture, built, built_policies, eventually, share, shared_ports, stop_all};

const FOLDER: &str = "policies";

/// Files of a gateway whose folder has the built policies.
fn with_policies() -> Files {
    let files = Files::new();
    let folder = files.path(FOLDER);
    std::fs::create_dir(&folder).expect("creates a folder");
    for entry in std::fs::read_dir(built_policies()).expect("lists the policies") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "wasm") {
            std::fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("copies a policy");
        }
    }
    files
}

fn install(files: &Files, name: &str, component: &[u8]) {
    let (new, path) = (files.path("new"), files.path(FOLDER).join(format!("{name}.wasm")));
    std::fs::write(&new, component).expect("writes");
    std::fs::rename(new, path).expect("renames");
}

async fn start(files: Files) -> (Fixture, Ports) {
    start_with(files, FOLDER).await
}

/// Starts a gateway on a ledger that several processes use, and returns its ports for another one.
async fn start_with(files: Files, folder: &str) -> (Fixture, Ports) {
    let mut config = files.config();
    config.role = Role::Gateway;
    config.policies.dir = files.path(folder);
    let mut ports = shared_ports(&config).await;
    (Fixture::on(share(&mut ports), files, config).await, ports)
}

/// Starts a second gateway.
async fn join(ports: Ports, files: Files) -> Fixture {
    let mut config = files.config();
    config.role = Role::Gateway;
    config.policies.dir = files.path(FOLDER);
    Fixture::on(ports, files, config).await
}

impl Fixture {
    async fn change_picker(&self, spec: Value) -> Answer {
        self.change_hook("shard-picker", spec).await
    }

    async fn change_hook(&self, hook: &str, spec: Value) -> Answer {
        let answer = self.operate(Method::PUT, "/admin/pipeline", Some(json!({ hook: spec }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer
    }

    async fn follows(&self, change: &Answer) {
        let number = &change.body["generation"];
        let has = async || (self.pipeline().await["generation"] == *number).then_some(());
        eventually("the change is active on the other gateway", has).await;
    }

    /// The digests of a policy's versions, newest first.
    async fn versions(&self, name: &str) -> Vec<String> {
        let listed = self.operate(Method::GET, "/admin/policies", None).await.body;
        let of_name = listed.as_array().expect("a list").iter().filter(|line| line["name"] == name);
        of_name.map(|line| line["digest"].as_str().expect("a digest").to_owned()).collect()
    }

    /// The active version of the shard picker: the beginning of its digest.
    async fn picker(&self) -> String {
        self.pipeline().await["hooks"]["shard-picker"]["version"].as_str().expect("a version").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_uploaded_through_one_gateway_is_configured_through_another() {
    let (here, ports) = start(with_policies()).await;
    let there = join(ports, Files::new()).await;
    let uploaded = here.upload("mine", built("weighted")).await;
    assert_eq!((uploaded.status, &uploaded.body["world"]), (StatusCode::CREATED, &"shard-picker".into()));
    there.follows(&here.change_picker(json!({ "policy": "mine" })).await).await;
    let version = there.picker().await;
    here.follows(&there.change_picker(json!({ "deadline_ms": 9 })).await).await;
    here.follows(&there.change_picker(json!({ "policy": "mine", "deadline_ms": 11 })).await).await;
    assert_eq!(here.pipeline().await["pipeline"]["shard-picker"]["deadline_ms"], 11);
    assert_eq!(here.picker().await, version);
    here.follows(&there.change_picker(json!({ "policy": "hash-user" })).await).await;
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_uploads_of_one_name_have_the_same_order_on_every_gateway() {
    let (here, ports) = start(with_policies()).await;
    let there = join(ports, Files::new()).await;
    let uploads = ["hash-user", "weighted", "round-robin"].map(built);
    let upload = |gateway, no: usize| Fixture::upload(gateway, "mine", uploads[no].clone());
    let all = tokio::join!(upload(&here, 0), upload(&there, 1), upload(&here, 2), upload(&there, 0), upload(&here, 1));
    for answer in <[Answer; 5]>::from(all) {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
    let versions = here.versions("mine").await;
    assert_eq!((versions.len(), &there.versions("mine").await), (3, &versions));
    let last = there.upload("mine", uploads[0].clone()).await;
    assert_eq!(here.versions("mine").await[0], last.body["digest"]);

    let change = here.change_picker(json!({ "policy": "mine" })).await;
    there.follows(&change).await;
    assert!(here.versions("mine").await[0].starts_with(&there.picker().await));
    let same = there.change_picker(json!({ "policy": "mine" })).await;
    assert_eq!(same.body, change.body, "it is the newest version there too");
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_that_a_pipeline_names_by_its_digest_decides_on_every_gateway_and_after_a_restart() {
    let (here, ports) = start(with_policies()).await;
    let there = join(ports, Files::new()).await;
    let older = here.upload("mine", built("lottery")).await.body["digest"].clone();
    let older = older.as_str().expect("a digest");
    let newer = there.upload("mine", built("token-bucket")).await;
    assert_eq!(here.versions("mine").await, [newer.body["digest"].as_str().expect("a digest"), older]);
    let nobody_is_drawn = json!({ "policy": format!("mine@sha256:{older}"), "config": { "ratio": 0.0 } });
    let change = here.change_hook("rate-shaper", nobody_is_drawn).await;
    there.follows(&change).await;
    let assert_decides = async |gateway: &Fixture| {
        let pipeline = gateway.pipeline().await;
        assert_eq!(pipeline["generation"], change.body["generation"]);
        assert_eq!(pipeline["pipeline"]["rate-shaper"]["policy"], format!("mine@sha256:{older}"));
        assert!(pipeline["hooks"]["rate-shaper"]["version"].as_str().is_some_and(|version| older.starts_with(version)));
        assert_eq!(gateway.issue(1).await.body["reason"], "NOT_DRAWN");
    };
    assert_decides(&here).await;
    assert_decides(&there).await;
    let [files, other_files] = stop_all([here, there]).await;
    let (here, ports) = start(files).await;
    let there = join(ports, other_files).await;
    assert_decides(&here).await;
    assert_decides(&there).await;

    let unknown = json!({ "rate-shaper": { "policy": "mine@sha256:000000000000" } });
    let refused = there.operate(Method::PUT, "/admin/pipeline", Some(unknown)).await;
    let expected = (StatusCode::UNPROCESSABLE_ENTITY, &"POLICY_REFUSED".into());
    assert_eq!((refused.status, &refused.body["reason"]), expected, "{}", refused.body);
    let detail =
        "the policy `mine` has no version that begins with 000000000000: `sluice policy list` prints its versions";
    assert_eq!(refused.body["detail"], detail);
    assert_decides(&there).await;

    there.change_hook("rate-shaper", json!({ "policy": "mine", "config": { "per_second": 50000 } })).await;
    assert_eq!(there.issue(1).await.status, StatusCode::ACCEPTED, "without a digest, the newest version decides");
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn different_files_on_two_gateways_are_applied_once_each_and_a_restart_changes_nothing() {
    let (here, ports) = start(with_policies()).await;
    let other_files = with_policies();
    install(&other_files, "random", &built("weighted"));
    let there = join(ports, other_files).await;
    let versions = here.versions("random").await;
    assert_eq!(versions.len(), 2);
    assert!(versions[0].starts_with(&there.picker().await));
    let generation = there.pipeline().await["generation"].clone();
    let [mut files, other_files] = stop_all([here, there]).await;
    std::fs::rename(other_files.path(FOLDER), files.path("other")).expect("renames");
    for folder in [FOLDER, "other", FOLDER] {
        let (restarted, _) = start_with(files, folder).await;
        assert_eq!(restarted.pipeline().await["generation"], generation, "{folder}");
        assert_eq!(restarted.versions("random").await, versions, "{folder}");
        files = restarted.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_replaced_feeds_one_version_and_its_deletion_changes_nothing() {
    let (here, ports) = start(with_policies()).await;
    let there = join(ports, Files::new()).await;
    install(&here.files, "random", &built("round-robin"));
    let two = async || (there.versions("random").await.len() == 2).then_some(());
    eventually("the new file is registered", two).await;
    let newest = there.versions("random").await[0].clone();
    let is_active = async || newest.starts_with(&there.picker().await).then_some(());
    eventually("the new file is active", is_active).await;
    std::fs::remove_file(here.files.path(FOLDER).join("random.wasm")).expect("deletes");
    there.follows(&here.change_picker(json!({ "policy": "random", "deadline_ms": 8 })).await).await;
    assert!(newest.starts_with(&there.picker().await));
    let versions = here.versions("random").await;
    let [files, _] = stop_all([here, there]).await;
    let (restarted, _) = start(files).await;
    assert_eq!((restarted.versions("random").await, versions.len()), (versions.clone(), 2));
    assert!(newest.starts_with(&restarted.picker().await));
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_every_version_and_each_file_that_is_no_policy() {
    let files = with_policies();
    install(&files, "broken", b"half of a component");
    let (system, _) = start(files).await;
    system.upload("mine", built("quota")).await;
    let listed = system.operate(Method::GET, "/admin/policies", None).await.body;
    let listed = listed.as_array().expect("a list");
    assert_eq!(listed[0]["name"], "broken", "what an operator has to correct comes first");
    let mine = &listed[1];
    assert_eq!(
        (&mine["name"], &mine["world"], &mine["source"]),
        (&"mine".into(), &"user-limit".into(), &"admin".into())
    );
    assert_eq!((&mine["contract"], &mine["bytes"]), (&"0.2.0".into(), &built("quota").len().into()));
    assert!(mine["atMs"].is_i64() && mine["error"].is_null(), "{mine}");
    let random = listed.iter().find(|line| line["name"] == "random").expect("is listed");
    assert_eq!((&random["world"], &random["source"]), (&"shard-picker".into(), &"folder".into()));
    let broken = listed.iter().find(|line| line["name"] == "broken").expect("is listed");
    assert!(broken["error"].as_str().is_some_and(|error| error.contains("not a WebAssembly component")), "{broken}");
    assert!(broken["digest"].is_null(), "{broken}");
    system.stop().await;
}
