//! Policies of both versions of the contract, through HTTP: what a client sees of a refusal.

use reqwest::{Method, StatusCode};
use serde_json::json;
use sluice::policy::pack;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::harness::{Answer, Fixture};

const V0_1: &str = include_str!("../../../wit/0.1/policy.wit");
const V0_2: &str = include_str!("../../../wit/policy.wit");
const CODE: &str = "NOT_TODAY";
const MESSAGE: &str = "<script>alert(\"1\")</script> & nothing for you today";
const LINK: &str = "https://example.com/help?code=1&lang=en";

/// Where a text of a guest is, and how long.
const TEXTS: [u32; 3] = [1024, 2048, 8192];
/// Where its verdict is. The memory around the texts and the verdict is zero: no measures, and a request is admitted.
const VERDICT: u32 = 512;
const ADMITTED: u32 = 256;
const NO_MEASURES: u32 = 16;

/// A user limit that refuses everybody but user 0, from whom the trial calls come.
fn refuser(contract: &str, world: &str, prefix: &str, texts: &[&str]) -> Vec<u8> {
    let data = |address: u32, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {address}) \"{hex}\")")
    };
    let length = |no: usize| texts[no].len() as u32;
    // `refuse`, the code, no `retry-after-ms`, and in 0.2 a message and a link.
    let mut verdict = vec![1, TEXTS[0], length(0), 0, 0];
    for no in 1..texts.len() {
        verdict.extend([1, TEXTS[no], length(no)]);
    }
    let verdict: Vec<u8> = verdict.into_iter().flat_map(u32::to_le_bytes).collect();
    let texts: String = texts.iter().zip(TEXTS).map(|(text, address)| data(address, text.as_bytes())).collect();
    let module = format!(
        r#"(module
            (memory (export "memory") 1) {} {texts}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 32768)
            (func (export "{prefix}configure") (param i32 i32) (result i32) i32.const {NO_MEASURES})
            (func (export "{prefix}admit")
                (param i64 i64 i64 i64 i64 i32 i32 i32 i64 i64) (result i32)
                (if (result i32) (i64.eqz (local.get 2))
                    (then i32.const {ADMITTED}) (else i32.const {VERDICT}))))"#,
        data(VERDICT, &verdict)
    );
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", contract).expect("a valid contract");
    let world = resolve.packages[package].worlds[world];
    let mut module = wat::parse_str(module).expect("valid WebAssembly text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds the world");
    pack(&module).expect("implements the world")
}

fn refuser_with(message: &str, link: &str) -> Vec<u8> {
    refuser(V0_2, "user-limit-policy", "sluice:policy/user-limit@0.2.0#", &[CODE, message, link])
}

impl Fixture {
    /// Uploads a user limit and activates it.
    async fn limit_with(&self, component: Vec<u8>) {
        let uploaded = self.upload("refuser", component).await;
        assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.body);
        let change = json!({ "user-limit": { "policy": "refuser" } });
        let changed = self.operate(Method::PUT, "/admin/pipeline", Some(change)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    }

    async fn contract_of(&self, policy: &str) -> String {
        let listed = self.operate(Method::GET, "/admin/policies", None).await.body;
        let listed = listed.as_array().expect("a list").iter().find(|line| line["name"] == policy).cloned();
        listed.expect("is listed")["contract"].as_str().expect("a version").to_owned()
    }
}

fn is_unavailable(answer: &Answer) -> bool {
    answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.body["reason"] == "POLICY_UNAVAILABLE"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_the_client_with_its_message_and_link_as_plain_text() {
    let system = Fixture::start().await;
    system.limit_with(refuser_with(MESSAGE, LINK)).await;
    let answer = system.issue(1).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!((&answer.body["reason"], &answer.body["type"]), (&json!(CODE), &json!("/problems/NOT_TODAY")));
    assert_eq!((&answer.body["detail"], &answer.body["help"]), (&json!(MESSAGE), &json!(LINK)));
    assert_eq!(system.contract_of("refuser").await, "0.2.0");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_or_link_beyond_its_bounds_is_an_invalid_verdict() {
    let system = Fixture::start().await;
    let (longest, too_long) = ("x".repeat(512), "x".repeat(513));
    system.limit_with(refuser_with(&longest, LINK)).await;
    assert_eq!(system.issue(1).await.body["detail"], json!(longest));
    for (message, link) in [
        (&*too_long, LINK),
        ("two\r\nlines", LINK),
        (MESSAGE, "javascript:alert(1)"),
        (MESSAGE, "https://example.com/\"onclick=\"alert(1)"),
        (MESSAGE, &format!("https://example.com/{}", "x".repeat(1024))),
    ] {
        system.limit_with(refuser_with(message, link)).await;
        let answer = system.issue(1).await;
        assert!(is_unavailable(&answer), "{message} {link}: {}", answer.body);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_version_0_1_still_decides() {
    let system = Fixture::start().await;
    system.limit_with(refuser(V0_1, "user-limit", "", &[CODE])).await;
    let answer = system.issue(1).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.body);
    assert_eq!((&answer.body["reason"], &answer.body["help"]), (&json!(CODE), &json!(null)));
    assert_eq!(answer.body["detail"], "rejected by the user-limit policy: NOT_TODAY");
    assert_eq!(system.contract_of("refuser").await, "0.1.0");
    system.stop().await;
}
