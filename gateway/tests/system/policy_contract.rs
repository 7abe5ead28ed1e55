//! Policies of both versions of the contract, through HTTP: what a client sees of a refusal.

use reqwest::{Method, StatusCode};
use serde_json::json;
use sluice::policy::pack;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::harness::{Answer, Fixture};

const CONTRACT: &str = include_str!("../../../wit/policy.wit");
const CODE: &str = "NOT_TODAY";
const MESSAGE: &str = "<script>alert(\"1\")</script> & nothing for you today";
const LINK: &str = "https://example.com/help?code=1&lang=en";

/// Where a text of a guest is, and how long.
const TEXTS: [u32; 3] = [1024, 2048, 8192];
/// Where its verdict is. The memory around the texts and the verdict is zero: no measures, and a request is admitted.
const VERDICT: u32 = 512;
const ADMITTED: u32 = 256;
const NO_MEASURES: u32 = 16;

/// A user limit that refuses everybody with a message and a link, but user 0, from whom the trial calls come.
fn refuser(message: &str, link: &str) -> Vec<u8> {
    let texts = [CODE, message, link];
    let data = |address: u32, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {address}) \"{hex}\")")
    };
    let length = |no: usize| texts[no].len() as u32;
    // `refuse`, the code, no `retry-after-ms`, the message and the link.
    let verdict = [1, TEXTS[0], length(0), 0, 0, 1, TEXTS[1], length(1), 1, TEXTS[2], length(2)];
    let verdict: Vec<u8> = verdict.into_iter().flat_map(u32::to_le_bytes).collect();
    let texts: String = texts.iter().zip(TEXTS).map(|(text, address)| data(address, text.as_bytes())).collect();
    let module = format!(
        r#"(module
            (memory (export "memory") 1) {} {texts}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 32768)
            (func (export "sluice:policy/user-limit@0.2.0#configure") (param i32 i32) (result i32)
                i32.const {NO_MEASURES})
            (func (export "sluice:policy/user-limit@0.2.0#admit")
                (param i64 i64 i64 i64 i64 i32 i32 i32 i64 i64) (result i32)
                (if (result i32) (i64.eqz (local.get 2))
                    (then i32.const {ADMITTED}) (else i32.const {VERDICT}))))"#,
        data(VERDICT, &verdict)
    );
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", CONTRACT).expect("a valid contract");
    let world = resolve.packages[package].worlds["user-limit-policy"];
    let mut module = wat::parse_str(module).expect("valid WebAssembly text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds the world");
    pack(&module).expect("implements the world")
}

/// Components as version 0.1.0 built them, as text: they change with no file of `wit`.
mod built_for_0_1 {
    pub(super) const RATE_SHAPER: &str = include_str!("../common/built_for_0_1/rate-shaper.wat");
    pub(super) const USER_LIMIT: &str = include_str!("../common/built_for_0_1/user-limit.wat");
    pub(super) const SHARD_PICKER: &str = include_str!("../common/built_for_0_1/shard-picker.wat");
    const TYPES: &str = include_str!("../common/built_for_0_1/types.wat");

    pub(super) fn component(policy: &str) -> Vec<u8> {
        wat::parse_str(format!("(component {TYPES} {policy})")).expect("valid WebAssembly text")
    }
}

impl Fixture {
    /// Uploads a policy under the name of its hook and activates it.
    async fn activate(&self, hook: &str, component: Vec<u8>) {
        let uploaded = self.upload(hook, component).await;
        assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.body);
        let changed = self.operate(Method::PUT, "/admin/pipeline", Some(json!({ hook: { "policy": hook } }))).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    }

    async fn limit_with(&self, component: Vec<u8>) {
        self.activate("user-limit", component).await;
    }

    /// The shard whose stock an accepted request was settled against.
    async fn shard_of_accepted(&self, user: u64) -> u64 {
        let status_url = self.accepted(user).await;
        self.outcome(&status_url).await["shardNo"].as_u64().expect("is issued")
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
    system.limit_with(refuser(MESSAGE, LINK)).await;
    let answer = system.issue(1).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!((&answer.body["reason"], &answer.body["type"]), (&json!(CODE), &json!("/problems/NOT_TODAY")));
    assert_eq!((&answer.body["detail"], &answer.body["help"]), (&json!(MESSAGE), &json!(LINK)));
    assert_eq!(system.contract_of("user-limit").await, "0.2.0");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_or_link_beyond_its_bounds_is_an_invalid_verdict() {
    let system = Fixture::start().await;
    let (longest, too_long) = ("x".repeat(512), "x".repeat(513));
    system.limit_with(refuser(&longest, LINK)).await;
    assert_eq!(system.issue(1).await.body["detail"], json!(longest));
    for (message, link) in [
        (&*too_long, LINK),
        ("two\r\nlines", LINK),
        (MESSAGE, "javascript:alert(1)"),
        (MESSAGE, "https://example.com/\"onclick=\"alert(1)"),
        (MESSAGE, &format!("https://example.com/{}", "x".repeat(1024))),
    ] {
        system.limit_with(refuser(message, link)).await;
        let answer = system.issue(1).await;
        assert!(is_unavailable(&answer), "{message} {link}: {}", answer.body);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_were_built_for_0_1_still_measure_and_decide() {
    let system = Fixture::start().await;
    for (hook, policy) in [
        ("rate-shaper", built_for_0_1::RATE_SHAPER),
        ("user-limit", built_for_0_1::USER_LIMIT),
        ("shard-picker", built_for_0_1::SHARD_PICKER),
    ] {
        system.activate(hook, built_for_0_1::component(policy)).await;
        assert_eq!(system.contract_of(hook).await, "0.1.0", "{hook}");
    }

    // Coupon 104 has four shards.
    assert_eq!(system.shard_of_accepted(1).await, 3);
    let again = system.issue(1).await;
    assert_eq!((again.status, &again.body["reason"]), (StatusCode::TOO_MANY_REQUESTS, &json!("USER_LIMIT")));
    assert_eq!(again.body["detail"], "rejected by the user-limit policy: USER_LIMIT");
    assert!(again.body["help"].is_null() && !again.headers.contains_key("retry-after"), "{}", again.body);

    assert_eq!(system.shard_of_accepted(2).await, 2);
    let shed = system.issue(3).await;
    assert_eq!((shed.status, &shed.body["reason"]), (StatusCode::TOO_MANY_REQUESTS, &json!("RATE_LIMITED")));
    let seconds: u32 = shed.headers["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!((1700..=1800).contains(&seconds), "a token comes every half hour, but retry after {seconds} s");
    system.stop().await;
}
