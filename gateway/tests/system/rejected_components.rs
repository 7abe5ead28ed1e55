//! The ways in which a component is rejected. `docs/rejected-components.md` has the message that an operator reads for
//! each, as this test found it. The pipeline stays as it was.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::ledger::PolicyVersion;
use sluice::policy::{Digest, PrivateKey};

use crate::component_text::Hook::{self, ShardPicker, UserLimit};
use crate::component_text::{Text, data, spin};
use crate::decisions;
use crate::harness::{Answer, Files, Fixture, built, built_policies};
use crate::signatures::{sign, signed_by, start};

const NAME: &str = "candidate";
/// Of keys that sign nothing else.
const SEED: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_SEED: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// Behind the configuration, which the host writes to 4096.
const LIST_AT: u32 = 8192;

/// A component, what the pipeline says about it, and why it is rejected: when it is uploaded, or when it is activated.
struct Row {
    what: &'static str,
    component: Vec<u8>,
    /// `None`: that of the trusted key.
    signature: Option<String>,
    hook: Hook,
    spec: Value,
}

fn row(what: &'static str, component: Vec<u8>) -> Row {
    Row { what, component, signature: None, hook: ShardPicker, spec: json!({ "policy": NAME, "deadline_ms": 50 }) }
}

fn wat(what: &'static str, text: &str) -> Row {
    row(what, wat::parse_str(text).expect("valid WebAssembly text"))
}

/// A shard picker that differs from a good one in this.
fn picker(what: &'static str, text: &Text) -> Row {
    row(what, text.component(ShardPicker))
}

fn configures(instructions: &str) -> Text {
    Text { configure: instructions.to_owned(), ..Text::default() }
}

/// `configure` returns these numbers: 0 and a list of measures, or 1 and the text of an error.
fn declares(numbers: &[u32], bytes: &str) -> Text {
    let fields = format!("{} (data (i32.const {LIST_AT}) \"{bytes}\")", data(16, numbers));
    Text { fields, ..Text::default() }
}

fn has(fields: &str) -> Text {
    Text { fields: fields.to_owned(), ..Text::default() }
}

fn remembers(memories: &str) -> Text {
    Text { memories: memories.to_owned(), ..Text::default() }
}

fn not_trusted(mine: &PrivateKey) -> Vec<Row> {
    let random = built("random");
    let signed = |what, signature: String| Row { signature: Some(signature), ..row(what, random.clone()) };
    vec![
        signed("no signature", String::new()),
        signed("a signature by a key that is not trusted", sign(&key_of(OTHER_SEED), &random)),
        signed("a component that was changed after it was signed", sign(mine, &built("weighted"))),
        signed("a signature that is none", "mine".to_owned()),
    ]
}

fn not_a_policy() -> Vec<Row> {
    // Of the same length on every machine, unlike a built one.
    let good = Text::default().component(ShardPicker);
    let truncated = good[..good.len() / 2].to_vec();
    let longer = [&good[..], b"and more"].concat();
    vec![
        row("nothing", Vec::new()),
        row("a text", b"this is not WebAssembly".to_vec()),
        row("a truncated component", truncated),
        row("more behind a component", longer),
        row("a component of 33 MiB", vec![0; 33 << 20]),
        wat("a core module", "(module)"),
        wat("a component without exports", "(component)"),
        wat("types that double in size with each level", &deep_types()),
        wat("an import", IMPORTS_A_CLOCK),
        wat("another major version of the contract", OF_ANOTHER_VERSION),
        wat("a function of another type", PICKS_A_TEXT),
        wat("a missing function", LACKS_A_FUNCTION),
    ]
}

fn beyond_the_limits() -> Vec<Row> {
    vec![
        picker("a memory of 4 GiB", &remembers("(memory (export \"memory\") 65536)")),
        picker("five memories", &remembers(&format!("{EXPORTED}{}", "(memory 1)".repeat(4)))),
        picker("a memory with 64-bit addresses", &remembers(&format!("{EXPORTED}(memory i64 1)"))),
        picker("nine tables", &has(&"(table 1 funcref)".repeat(9))),
        picker("memory that grows past the limit", &configures("(drop (memory.grow (i32.const 300)))")),
    ]
}

fn broken_at_the_start() -> Vec<Row> {
    vec![
        picker("a start that traps", &has("(func $s unreachable) (start $s)")),
        picker("a start that never ends", &has("(func $s (loop $a (br $a))) (start $s)")),
        picker("a configure that traps", &configures("unreachable")),
        picker("a configure that never ends", &configures("(loop $a (br $a))")),
        picker("too many measures", &declares(&[0, LIST_AT, 17], "")),
        picker("a bucket without tokens", &declares(&[0, LIST_AT, 1], "\\01")),
        picker("a measure that does not exist", &declares(&[0, LIST_AT, 1], "\\09")),
        picker("an error that is no UTF-8", &declares(&[1, LIST_AT, 2], "\\ff\\ff")),
    ]
}

fn refused_decisions() -> Vec<Row> {
    let limited = json!({ "policy": NAME, "config": { "limit": 0 } });
    let cheap = json!({ "policy": NAME, "budget_fuel": 10 });
    vec![
        row("a policy for another hook", built("quota")),
        Row { hook: UserLimit, spec: limited, ..row("a configuration that the policy refuses", built("quota")) },
        Row { spec: cheap, ..picker("a decision over its budget of fuel", &Text::deciding(&spin(1_000))) },
        picker("decisions that trap", &Text::deciding("unreachable")),
        picker("decisions that never end", &Text::deciding("(loop $a (br $a))")),
        picker("a shard that does not exist", &Text::deciding("(return (i32.const 4))")),
    ]
}

const EXPORTED: &str = "(memory (export \"memory\") 1)";
const IMPORTS_A_CLOCK: &str = r#"(component
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#;
const OF_ANOTHER_VERSION: &str =
    r#"(component (instance $picker) (export "sluice:policy/shard-picker@1.0.0" (instance $picker)))"#;
const LACKS_A_FUNCTION: &str =
    r#"(component (instance $picker) (export "sluice:policy/shard-picker@0.2.0" (instance $picker)))"#;
const PICKS_A_TEXT: &str = r#"(component
    (core module $m (func (export "f") (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (func $f (result u32) (canon lift (core func $i "f")))
    (export "configure" (func $f))
    (export "pick" (func $f)))"#;

fn deep_types() -> String {
    let level = |level: u32| format!("(type $t{} (tuple $t{level} $t{level}))", level + 1);
    format!("(component (type $t0 (tuple u8 u8)) {})", (0..24).map(level).collect::<String>())
}

impl Fixture {
    /// Why a component is rejected.
    async fn rejection(&self, row: &Row, mine: &PrivateKey) -> String {
        let uploaded = match row.signature.clone().unwrap_or_else(|| sign(mine, &row.component)) {
            none if none.is_empty() => self.upload(NAME, row.component.clone()).await,
            signature => self.upload_signed(NAME, row.component.clone(), &signature).await,
        };
        if uploaded.status != StatusCode::CREATED {
            return detail(&uploaded);
        }
        let patch = json!({ row.hook.name(): row.spec });
        detail(&self.operate(Method::PUT, "/admin/pipeline", Some(patch)).await)
    }
}

/// Without the time at which a trial call was made.
fn detail(answer: &Answer) -> String {
    let detail = answer.body["detail"].as_str().unwrap_or("not rejected").to_owned();
    match detail.split_once("arrived_at_ms: ") {
        Some((before, after)) => {
            format!("{before}arrived_at_ms: NOW{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => detail,
    }
}

/// A key that is the same in each run, so that the messages are.
fn key_of(seed: &str) -> PrivateKey {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("key");
    std::fs::write(&path, seed).expect("writes");
    PrivateKey::read(&path).expect("is a key")
}

/// Compares the page with what was found, or writes it.
fn assert_documented(section: &str, found: &[(&str, String)]) {
    let rows: String = found.iter().map(|(what, message)| format!("| {what} | {} |\n", escaped(message))).collect();
    assert!(found.iter().all(|(_, message)| message != "not rejected"), "{found:?}");
    let table = format!("## {section}\n\n| component | message |\n| --- | --- |\n{rows}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rejected-components.md");
    let page = std::fs::read_to_string(&path).expect("reads");
    let begin = page.find(&format!("## {section}\n")).expect("the page has the section");
    let end = page[begin + 1..].find("\n## ").map_or(page.len(), |end| begin + 1 + end);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, [&page[..begin], &table, &page[end..]].concat()).expect("writes");
    } else {
        assert_eq!(page[begin..end], table, "write the page again with UPDATE_DOCS=1");
    }
}

/// As text in a table.
fn escaped(message: &str) -> String {
    message.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_rejected_with_its_reason_and_the_pipeline_stays() {
    let mine = key_of(SEED);
    let system = start(signed_by(&mine), &mine).await;
    let rows = [not_trusted(&mine), not_a_policy(), beyond_the_limits(), broken_at_the_start(), refused_decisions()];
    let mut found = Vec::new();
    for row in rows.into_iter().flatten() {
        found.push((row.what, system.rejection(&row, &mine).await));
    }
    assert!(found.len() >= 25, "{}", found.len());
    assert_documented("Uploaded or activated", &found);
    let pipeline = system.pipeline().await;
    assert_eq!(
        (&pipeline["generation"], &pipeline["pipeline"]["shard-picker"]["policy"]),
        (&1.into(), &"random".into())
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_ledger_does_not_have_intact_is_rejected() {
    let files = Files::new();
    let config = files.config();
    let ports = Ports::open(&config).await.expect("embedded ports open");
    let store = async |name: &str, digest: &str, bytes: &[u8]| {
        let version = PolicyVersion {
            name: name.to_owned(),
            digest: digest.to_owned(),
            world: "shard-picker".to_owned(),
            contract: "0.2.0".to_owned(),
            bytes: bytes.len() as u64,
            signature: None,
            source: "admin".to_owned(),
            registered_by: None,
            registered_at_ms: 1,
        };
        ports.ledger.register_policy(&version, bytes).await.expect("registers");
    };
    store("tampered", &Digest::of(b"the component that was uploaded").to_string(), b"other bytes").await;
    let digits = "0123456789ab";
    for last in ["c", "d"] {
        store("similar", &format!("{digits}{}", last.repeat(52)), b"any bytes").await;
    }
    let system = Fixture::on(ports, files, config).await;
    let gone = format!("random@sha256:{}", "0".repeat(12));
    let ambiguous = format!("similar@sha256:{digits}");
    let mut found = Vec::new();
    for (what, policy) in [
        ("a policy that nobody registered", "clairvoyant"),
        ("bytes that were changed in the ledger", "tampered"),
        ("an older version that is gone", &gone),
        ("digits with which two versions begin", &ambiguous),
        ("too few digits of a version", "random@sha256:ba78"),
    ] {
        let message = detail(&system.pick_with(policy).await);
        found.push((what, message.replace(&format!("{}/", built_policies().display()), "policies/")));
    }
    assert_documented("Named by a pipeline", &found);
    assert_eq!(system.pipeline().await["generation"], 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_replay_differs_too_much_or_finds_too_little_is_rejected() {
    let system = decisions::start().await;
    assert_eq!(system.pick_with("hash-user").await.status, StatusCode::OK);
    for user in 1..=8 {
        system.accepted(user).await;
    }
    system.recorded(8).await;
    let uploaded = system.upload(NAME, Text::default().component(ShardPicker)).await;
    assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.body);
    let mut found = Vec::new();
    for (what, bound) in [
        ("more changed decisions than allowed", json!({ "changed": 0.01 })),
        ("fewer recorded decisions than asked for", json!({ "decisionsMin": 1_000 })),
    ] {
        let body = json!({ "hooks": { "shard-picker": { "policy": NAME } }, "replay": bound });
        found.push((what, detail(&system.operate(Method::POST, "/admin/rollouts", Some(body)).await)));
    }
    assert_documented("Started as a rollout", &found);
    assert_eq!(system.pipeline().await["pipeline"]["shard-picker"]["policy"], "hash-user");
    system.stop().await;
}
