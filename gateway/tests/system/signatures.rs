//! With trusted keys, a gateway runs only components that one of them signed, wherever they come from.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use sluice::app::{Ports, System};
use sluice::config::{Config, Role};
use sluice::policy::{Digest, PrivateKey, Signature, signature_file};

use crate::harness::{Answer, Files, Fixture, built, eventually, share, shared_ports, stop_all};

const UNSIGNED: &str = "the component is not signed, and policies.trusted_keys requires it: sign it with `sluice policy \
                        sign`, and give the signature with it";

fn key() -> PrivateKey {
    PrivateKey::generate().expect("random numbers")
}

pub(crate) fn sign(key: &PrivateKey, component: &[u8]) -> String {
    Signature::sign(key, Digest::of(component)).to_string()
}

fn install_signed(files: &Files, key: &PrivateKey, names: &[&str]) {
    for name in names {
        let path = files.policy(name);
        std::fs::write(signature_file(&path), sign(key, &std::fs::read(&path).expect("reads"))).expect("writes");
    }
}

/// Files of a gateway whose policies this key signed, but for `weighted`.
pub(crate) fn signed_by(key: &PrivateKey) -> Files {
    let files = Files::with_policies(&["token-bucket", "quota", "random", "hash-user", "weighted"]);
    install_signed(&files, key, &["token-bucket", "quota", "random", "hash-user"]);
    files
}

fn trust(files: &Files, key: &PrivateKey) -> Config {
    let mut config = files.config();
    config.role = Role::Gateway;
    config.policies.dir = files.path("policies");
    config.policies.trusted_keys = vec![key.public()].into();
    config
}

pub(crate) async fn start(files: Files, key: &PrivateKey) -> Fixture {
    let config = trust(&files, key);
    let ports = Ports::open(&config).await.expect("embedded ports open");
    Fixture::on(ports, files, config).await
}

fn refusal(answer: &Answer) -> &str {
    assert_eq!((answer.status, &answer.body["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &"POLICY_REFUSED".into()));
    answer.body["detail"].as_str().expect("a detail")
}

fn line<'a>(listed: &'a Value, name: &str) -> &'a Value {
    listed.as_array().expect("a list").iter().find(|line| line["name"] == name).expect("is listed")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_signature_by_a_trusted_key_is_refused() {
    let (mine, other) = (key(), key());
    let system = start(signed_by(&mine), &mine).await;
    let component = built("round-robin");
    assert_eq!(refusal(&system.upload("mine", component.clone()).await), UNSIGNED);
    let refused = system.upload_signed("mine", component.clone(), &sign(&other, &component)).await;
    let expected = format!(
        "the component is signed by the key {}, which is not in policies.trusted_keys: sign it with a key of the list, \
         or add the public key",
        other.public().id()
    );
    assert_eq!(refusal(&refused), expected);
    let refused = system.upload_signed("mine", component.clone(), &sign(&mine, &built("weighted"))).await;
    let expected = format!(
        "the signature by the key {} is not of this component: one of the two was changed; get both again from whoever \
         signed the component",
        mine.public().id()
    );
    assert_eq!(refusal(&refused), expected);
    let refused = system.upload_signed("mine", component.clone(), "mine").await;
    let expected = "expected a signature as `sluice policy sign` writes it, found `mine`: sign the component again";
    assert_eq!(refusal(&refused), expected);

    let uploaded = system.upload_signed("mine", component.clone(), &sign(&mine, &component)).await;
    assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.body);
    assert_eq!(system.pick_with("mine").await.status, StatusCode::OK);
    let listed = system.operate(Method::GET, "/admin/policies", None).await.body;
    assert_eq!(line(&listed, "mine")["signedBy"], mine.public().id().to_string());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_usable_once_its_signature_is_beside_it() {
    let mine = key();
    let system = start(signed_by(&mine), &mine).await;
    let path = system.files.policy("weighted");
    let refused = system.pick_with("weighted").await;
    assert_eq!(refusal(&refused), format!("{}: {UNSIGNED}", path.display()));
    std::fs::write(signature_file(&path), "half of a sig").expect("writes");
    let malformed = async || {
        let refused = system.pick_with("weighted").await;
        refusal(&refused).contains("expected a signature as `sluice policy sign` writes it").then_some(())
    };
    eventually("the malformed signature is reported", malformed).await;
    install_signed(&system.files, &mine, &["weighted"]);
    let usable = async || (system.pick_with("weighted").await.status == StatusCode::OK).then_some(());
    eventually("the signature makes it usable", usable).await;

    std::fs::write(&path, built("round-robin")).expect("writes");
    let reported = async || {
        let history = system.pipeline().await["history"].clone();
        let newest = history[0]["error"].as_str()?.to_owned();
        newest.contains("is not of this component: one of the two was changed").then_some(())
    };
    eventually("the new component has the signature of the old one", reported).await;
    install_signed(&system.files, &mine, &["weighted"]);
    let active = async || {
        let version = system.pipeline().await["hooks"]["shard-picker"]["version"].as_str()?.to_owned();
        Digest::of(&built("round-robin")).to_string().starts_with(&version).then_some(())
    };
    eventually("the new component is active", active).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_with_components_that_it_does_not_trust() {
    let (mine, other) = (key(), key());
    let files = signed_by(&mine);
    let expected = format!("the component is signed by the key {}, which is not in", mine.public().id());
    let config = trust(&files, &other);
    let error = Ports::open(&config).await.err().expect("the check before a start fails").to_string();
    assert!(error.starts_with(&format!("rate-shaper: {expected}")), "{error}");
    let ports = Ports::open(&trust(&files, &mine)).await.expect("embedded ports open");
    let error = System::start(config, ports).await.err().expect("does not start").to_string();
    assert!(error.contains("token-bucket.wasm") && error.contains(&expected), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_are_in_the_ledger_are_verified_by_every_gateway_that_loads_them() {
    let mine = key();
    let files = signed_by(&mine);
    let mut ports = shared_ports(&files.config()).await;
    let mut config = trust(&files, &mine);
    let trusting = Fixture::on(share(&mut ports), files, config.clone()).await;
    let careless_files = Files::with_policies(&["weighted"]);
    config.policies.dir = careless_files.path("policies");
    config.policies.trusted_keys = Default::default();
    let careless = Fixture::on(share(&mut ports), careless_files, config).await;

    let unsigned = built("power-of-two");
    assert_eq!(careless.upload("mine", unsigned.clone()).await.status, StatusCode::CREATED);
    let refused = trusting.pick_with("mine").await;
    assert_eq!(refusal(&refused), format!("shard-picker: {UNSIGNED}"), "when it is resolved for a change");

    assert_eq!(careless.pick_with("mine").await.status, StatusCode::OK);
    let refused = async || trusting.pipeline().await["notLoaded"]["error"].as_str().map(str::to_owned);
    let error = eventually("the generation is not loaded", refused).await;
    assert_eq!(error, format!("shard-picker: {UNSIGNED}"), "when another gateway published it");
    assert_eq!(trusting.pipeline().await["pipeline"]["shard-picker"]["policy"], "random");

    let signed = careless.upload_signed("mine", unsigned.clone(), &sign(&mine, &unsigned)).await;
    assert_eq!(signed.status, StatusCode::CREATED, "a gateway without keys stores signatures for the others");
    let loaded = async || trusting.pipeline().await["notLoaded"].is_null().then_some(());
    eventually("the signed component is loaded", loaded).await;
    assert_eq!(trusting.pipeline().await["pipeline"]["shard-picker"]["policy"], "mine");
    stop_all([trusting, careless]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_were_registered_before_the_keys_were_trusted_count_after_a_restart() {
    let mine = key();
    let files = Files::with_policies(&["token-bucket", "quota", "random", "hash-user"]);
    let mut config = trust(&files, &mine);
    config.policies.trusted_keys = Default::default();
    let ports = Ports::open(&config).await.expect("embedded ports open");
    let system = Fixture::on(ports, files, config).await;
    assert_eq!(system.pick_with("hash-user").await.status, StatusCode::OK);
    install_signed(&system.files, &mine, &["token-bucket", "quota", "random", "hash-user"]);
    let stored = async || {
        let listed = system.operate(Method::GET, "/admin/policies", None).await.body;
        listed.as_array()?.iter().all(|line| line["signedBy"].is_string()).then_some(())
    };
    eventually("the ledger has the signatures", stored).await;
    let generation = system.pipeline().await["generation"].clone();
    let restarted = start(system.stop().await, &mine).await;
    let pipeline = restarted.pipeline().await;
    assert_eq!((&pipeline["generation"], pipeline["notLoaded"].is_null()), (&generation, true));
    remove_signatures(&restarted.files.path("policies"));
    let again = start(restarted.stop().await, &mine).await;
    assert_eq!(again.pipeline().await["generation"], generation, "the ledger has what it needs");
    again.stop().await;
}

fn remove_signatures(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("lists the policies") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "sig") {
            std::fs::remove_file(path).expect("deletes");
        }
    }
}
