//! Components that cannot be activated.

use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::harness::{Gateway, Launch, Process, hostile, policy};

/// The first coupon of a new ledger.
const COUPON: u64 = 104;
/// On a busy machine, the low priority of the compiler leaves it little time.
const INSPECTED_WITHIN: Duration = Duration::from_secs(120);

/// Name, bytes, and the beginning of the refusal as a shard picker.
fn unusable_components() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let picker = policy("random");
    let wat = |text: &str| wat::parse_str(text).expect("valid WebAssembly text");
    let mut damaged = picker.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    let spilled = [&picker[..], b"and more"].concat();
    vec![
        ("an empty file", Vec::new(), "not a WebAssembly component"),
        ("a text", b"this is not WebAssembly".to_vec(), "not a WebAssembly component"),
        ("a truncated component", picker[..picker.len() / 2].to_vec(), "not a valid component"),
        ("a damaged component", damaged, "not a valid component"),
        ("a component with more behind it", spilled, "not a valid component"),
        ("a core module", wat("(module)"), "expected a component, found a core module"),
        ("an empty component", wat("(component)"), "expected the world rate-shaper, user-limit or shard-picker"),
        ("another world", policy("quota"), "expected the world shard-picker"),
        ("an import", wat(IMPORTS_A_CLOCK), "a policy must not import anything"),
        ("an export of another type", wat(PICKS_A_TEXT), "expected the world shard-picker"),
        ("a policy that fails whenever it is tried", hostile("trap-at-once"), PANICS_IN_ITS_TRIAL),
        ("a component that is far too large", vec![0; 33 * 1024 * 1024], "expected at most 33554432 bytes"),
    ]
}

/// The panic's message, and where it is in the source.
const PANICS_IN_ITS_TRIAL: &str = "the policy failed its trial: trap in each of 3 calls: \
    panicked at hostile/examples/trap-at-once.rs:7:5: a trap (at module offset 0x";

const IMPORTS_A_CLOCK: &str = r#"(component
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#;

/// `pick` and `configure` are exported with other types.
const PICKS_A_TEXT: &str = r#"(component
    (core module $m (func (export "f") (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (func $f (result u32) (canon lift (core func $i "f")))
    (export "configure" (func $f))
    (export "pick" (func $f)))"#;

impl Gateway {
    /// Generation 1 is active, and the history names the reason of the refusal.
    async fn assert_unchanged(&self, name: &str, reason: &str) {
        let pipeline = self.pipeline().await;
        assert_eq!(pipeline["generation"], 1, "{name}");
        assert_eq!(pipeline["pipeline"]["shard-picker"]["policy"], "random", "{name}");
        let error = pipeline["history"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(reason), "{name}: expected {reason}, found {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_component_leaves_the_pipeline_unchanged_and_its_reason_is_reported() {
    let mut gateway = Gateway::start().await;
    let crowd = Crowd::at(&gateway, COUPON);
    let unusable_components = unusable_components();
    for (user, (name, bytes, reason)) in (1..).zip(&unusable_components) {
        gateway.home.install("candidate", bytes);
        let answer = gateway.put_pipeline(json!({ "shard-picker": { "policy": "candidate" } })).await;
        assert_eq!(answer.refusal(), (422, "POLICY_REFUSED".to_owned()), "{name}: {answer}");
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        let file = "policies/candidate.wasm";
        let places =
            ["shard-picker: ".to_owned(), format!("read {file}: "), format!("{file} is "), format!("{file}: ")];
        let is_explained = places.iter().any(|place| detail.starts_with(&format!("{place}{reason}")));
        assert!(is_explained, "{name}: {detail}");
        gateway.assert_unchanged(name, reason).await;
        assert_eq!(crowd.request(user).await.receipt().generation, Some(1), "{name}");
    }
    let refused = gateway.metrics().await.value("sluice_policy_swaps_total", &[("outcome", "refused")]);
    assert_eq!(refused, unusable_components.len() as f64);
    // Only the log of a process that has ended is complete.
    let log = gateway.stop().await;
    let logged = log.iter().filter(|line| line["message"] == "pipeline change refused").count();
    assert_eq!(logged, unusable_components.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploading_a_component_that_is_no_policy_is_rejected() {
    let gateway = Gateway::start().await;
    // An upload names no hook, so a policy of another world is valid, and none is tried.
    let is_policy = |name| ["another world", "a policy that fails whenever it is tried"].contains(&name);
    for (name, bytes, reason) in unusable_components().into_iter().filter(|(name, ..)| !is_policy(*name)) {
        let answer = gateway.operator.post("/admin/policies?name=candidate", bytes).await;
        match name {
            "a component that is far too large" => assert_eq!(answer.refusal(), (413, "BODY_TOO_LARGE".to_owned())),
            _ => {
                assert_eq!(answer.refusal(), (422, "POLICY_REFUSED".to_owned()), "{name}: {answer}");
                // Without a hook the message cannot name the expected world.
                let is_reported = reason.contains("world") || answer.text().contains(reason);
                assert!(is_reported, "{name}: {answer}");
            }
        }
    }
    let listed = gateway.operator.get("/admin/policies").await.json();
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|line| line["name"].clone()).collect();
    assert!(!names.contains(&json!("candidate")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_policy_is_active_once_the_pipeline_names_it() {
    let gateway = Gateway::start().await;
    let answer = gateway.operator.post("/admin/policies?name=my-own", policy("hash-user")).await;
    assert_eq!((answer.status, &answer.json()["name"]), (201, &json!("my-own")), "{answer}");
    let generation = gateway.set_shard_picker("my-own").await;
    assert_eq!(generation, 2);
    assert_eq!(Crowd::at(&gateway, COUPON).request(1).await.receipt().generation, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_the_policy_rejects_is_reported_with_its_message() {
    let gateway = Gateway::start().await;
    for (hook, spec, words) in [
        ("user-limit", json!({ "policy": "quota", "config": { "limit": 0 } }), "limit: invalid value: integer `0`"),
        ("user-limit", json!({ "policy": "quota", "config": { "limt": 1 } }), "unknown field `limt`, expected `limit`"),
        ("rate-shaper", json!({ "policy": "token-bucket", "config": { "scope": "moon" } }), "scope: unknown variant"),
        ("shard-picker", json!({ "policy": "random", "config": { "seed": 1 } }), "unknown field `seed`"),
        ("shard-picker", json!({ "policy": "clairvoyant" }), "the policy `clairvoyant` is unknown"),
    ] {
        let answer = gateway.put_pipeline(json!({ hook: spec })).await;
        assert_eq!(answer.refusal(), (422, "POLICY_REFUSED".to_owned()), "{answer}");
        assert!(answer.text().contains(words), "expected {words}, found {answer}");
        gateway.assert_unchanged(hook, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invalid_hook_leaves_all_hooks_unchanged() {
    let gateway = Gateway::start().await;
    let patch = json!({
        "shard-picker": { "policy": "hash-user" },
        "user-limit": { "policy": "quota", "config": { "limit": 0 } },
    });
    assert_eq!(gateway.put_pipeline(patch).await.status, 422);
    assert_eq!(gateway.pipeline().await["pipeline"]["shard-picker"]["policy"], "random");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_activates_the_previous_pipeline() {
    let gateway = Gateway::start().await;
    let picker = async || gateway.pipeline().await["pipeline"]["shard-picker"]["policy"].clone();
    for policy in ["hash-user", "weighted"] {
        gateway.set_shard_picker(policy).await;
    }
    let back = |answer: crate::client::Answer| (answer.status, answer.json()["generation"].clone());
    let rollback = async || back(gateway.operator.post("/admin/pipeline/rollback", "").await);
    assert_eq!(rollback().await, (200, json!(4)));
    assert_eq!(picker().await, "hash-user");
    assert_eq!(rollback().await, (200, json!(5)));
    assert_eq!(picker().await, "random", "a second rollback goes one generation further back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_pipeline_survives_a_kill_with_its_components() {
    let mut gateway = Gateway::start().await;
    gateway.set_shard_picker("hash-user").await;
    let before = gateway.pipeline().await;
    gateway.home.install("hash-user", b"damaged meanwhile");
    gateway.kill().await;
    gateway.restart().await;
    let after = gateway.pipeline().await;
    let kept =
        |pipeline: &Value| (pipeline["generation"].clone(), pipeline["pipeline"].clone(), pipeline["hooks"].clone());
    assert_eq!(kept(&after), kept(&before));
    assert_eq!(Crowd::at(&gateway, COUPON).request(1).await.receipt().generation, Some(2));
}

#[tokio::test]
async fn policy_inspect_prints_the_world_or_why_the_component_is_unusable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inspect = async |bytes: &[u8]| {
        std::fs::write(folder.path().join("candidate.wasm"), bytes).expect("writes");
        let command = Launch::default().command(folder.path(), &["policy", "inspect", "candidate.wasm"]);
        Process::run(command, INSPECTED_WITHIN).await
    };
    for (name, world) in [("token-bucket", "rate-shaper"), ("quota", "user-limit"), ("weighted", "shard-picker")] {
        let ended = inspect(&policy(name)).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stdout.starts_with(&format!("world     {world}\n")), "{ended}");
        assert!(ended.stdout.lines().last().is_some_and(|line| line.starts_with("trial     ")), "{ended}");
    }
    for (name, bytes, reason) in unusable_components().into_iter().filter(|(.., reason)| !reason.contains("world")) {
        let ended = inspect(&bytes).await;
        assert_eq!(ended.code, Some(1), "{name}: {ended}");
        assert!(ended.stderr.starts_with(&format!("sluice: candidate.wasm: {reason}")), "{name}: {ended}");
    }
}
