//! The main job: ask for a coupon, be told how it ended, ask again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checker::{Promised, Receipt};
use crate::client::{Answer, post};
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Launch, eventually, payload};
use crate::load;

/// What the README's curl asks for: the coupon that a new ledger starts with.
const FIRST_COUPON: u64 = 104;

impl Gateway {
    /// The status of a request, with more behind the `?`.
    async fn status(&self, receipt: &Receipt, more: &str) -> Value {
        let answer = self.client.get(&format!("{}{more}", receipt.status_url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    async fn issue_under(&self, key: &str, body: String) -> Answer {
        let mut request = post("/coupon/issue", body);
        request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        self.client.call(request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_accepted_and_issued_within_a_second_and_takes_one_coupon_from_one_shard() {
    let gateway = Gateway::start().await;
    let before = gateway.metrics().await;

    let begun = Instant::now();
    let answer = gateway.client.post("/coupon/issue", payload(48_213, FIRST_COUPON)).await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("sluice-generation"), Some("1"));
    let body = answer.json();
    assert_eq!(body["status"], "PENDING");
    let status_url = body["statusUrl"].as_str().expect("a status URL");
    assert_eq!(answer.header("location"), Some(status_url));

    let status = gateway.client.get(&format!("{status_url}&wait=10s")).await.json();
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    assert_eq!((&status["requestId"], &status["status"]), (&body["requestId"], &json!("ISSUED")));
    assert_eq!(status["couponId"], FIRST_COUPON);

    let after = gateway.metrics().await;
    let remaining = |shard: u64| {
        let labels = [("coupon", "104"), ("shard", &*shard.to_string())];
        (before.value("sluice_shard_remaining", &labels), after.value("sluice_shard_remaining", &labels))
    };
    let taken_from = status["shardNo"].as_u64().expect("a shard");
    for shard in 0..4 {
        let left = if shard == taken_from { 2499.0 } else { 2500.0 };
        assert_eq!(remaining(shard), (2500.0, left), "shard {shard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_under_the_same_key_is_the_same_request() {
    let mut gateway = Gateway::start().await;
    let first = gateway.issue_under("order-1", payload(1, FIRST_COUPON)).await;
    let retry = gateway.issue_under("order-1", payload(1, FIRST_COUPON)).await;
    assert_eq!((first.status, retry.status), (202, 202));
    assert_eq!(retry.json()["requestId"], first.json()["requestId"]);

    let status_url = first.json()["statusUrl"].as_str().expect("a status URL").to_owned();
    let ended = gateway.client.get(&format!("{status_url}&wait=10s")).await.json();
    assert_eq!(ended["status"], "ISSUED");

    gateway.kill().await;
    gateway.start_again().await;
    let late = gateway.issue_under("order-1", payload(1, FIRST_COUPON)).await;
    assert_eq!((late.status, &late.json()["status"]), (202, &json!("ISSUED")), "{late}");
    assert_eq!(late.json()["statusUrl"], *status_url);
    assert_eq!(gateway.audit(FIRST_COUPON).await.granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_fields_does_not_make_another_request_and_a_value_does() {
    let gateway = Gateway::start().await;
    let of = |body: &str| body.to_owned();
    let first = of(r#"{"userId":1,"couponId":104,"policyId":21,"typeSnapshot":"FIXED"}"#);
    let same = of(r#"{ "typeSnapshot": "FIXED", "policyId": 21, "couponId": 104, "userId": 1 }"#);
    let other = of(r#"{"userId":1,"couponId":104,"policyId":21,"typeSnapshot":"RATE"}"#);

    let first = gateway.issue_under("k", first).await;
    let same = gateway.issue_under("k", same).await;
    assert_eq!((same.status, &same.json()["requestId"]), (202, &first.json()["requestId"]));
    let other = gateway.issue_under("k", other).await;
    assert_eq!(other.refusal(), (422, "IDEMPOTENCY_CONFLICT".to_owned()), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_retries_at_once_are_one_request() {
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let asking = crowd.clone();
    let ask = move |_| {
        let crowd = asking.clone();
        async move { crowd.ask_under(1, Some("the same key".to_owned())).await }
    };
    let replies = load::closed(50, 0..50, ask).await;
    let accepted: Vec<_> = replies.iter().filter(|reply| reply.is_accepted()).collect();
    assert_eq!(accepted.len(), 50, "{replies:?}");
    assert!(accepted.iter().all(|reply| reply.receipt().request_id == accepted[0].receipt().request_id));
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!(report.audit.granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_request_knows_its_position_and_is_settled_when_settlement_comes_back() {
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let crowd = Crowd::before(&gateway, gateway.create(Campaign::of(100, 1)).await);
    let mut receipts = Vec::new();
    for user in 1..=3 {
        receipts.push(crowd.ask(user).await.receipt().clone());
    }
    for (receipt, position) in receipts.iter().zip(1..) {
        let status = gateway.status(receipt, "").await;
        let expected = json!({ "requestId": receipt.request_id, "status": "PENDING", "position": position });
        assert_eq!(status, expected);
    }
    let begun = Instant::now();
    assert_eq!(gateway.status(&receipts[0], "&wait=300ms").await["status"], "PENDING");
    assert!(begun.elapsed() >= Duration::from_millis(300), "waited {:?}", begun.elapsed());

    gateway.stop().await;
    gateway.start_again_as(Launch::default()).await;
    for receipt in &receipts {
        assert_eq!(gateway.status(receipt, "&wait=10s").await["status"], "ISSUED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_was_is_unknown() {
    let gateway = Gateway::start().await;
    let receipt = Crowd::before(&gateway, FIRST_COUPON).ask(1).await.receipt().clone();
    let known = gateway.client.get(&format!("/coupon/issue/{}?wait=10s", receipt.request_id)).await;
    assert_eq!((known.status, &known.json()["status"]), (200, &json!("ISSUED")));

    for path in [
        "/coupon/issue/00000000-0000-7000-8000-000000000000",
        "/coupon/issue/00000000-0000-7000-8000-000000000000?partition=0&offset=0",
        "/coupon/issue/00000000-0000-7000-8000-000000000000?partition=0&offset=99999",
        "/coupon/issue/00000000-0000-7000-8000-000000000000?partition=4000000000&offset=0",
        "/coupon/issue/nonsense",
    ] {
        let answer = gateway.client.get(path).await;
        assert_eq!(answer.refusal(), (404, "REQUEST_NOT_FOUND".to_owned()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_asks_twice_is_told_at_once() {
    let gateway = Gateway::start().await;
    let crowd = Crowd::before(&gateway, FIRST_COUPON);
    assert!(crowd.ask(1).await.is_accepted());
    let second = gateway.client.post("/coupon/issue", payload(1, FIRST_COUPON)).await;
    assert_eq!(second.refusal(), (429, "USER_LIMIT".to_owned()));
    assert_eq!(second.header("ratelimit"), Some("\"user-limit\";r=0"));
    assert!(crowd.ask(2).await.is_accepted(), "another user is not concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_holds_the_limit_of_a_user_when_the_policy_does_not() {
    let gateway = Gateway::start().await;
    gateway.allow_requests(100).await;
    let campaign = Campaign { per_user_limit: 2, ..Campaign::of(100, 4) };
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    crowd.rush(8, std::iter::repeat_n(1, 10)).await;
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued(), report.audit.user_limit), (10, 2, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_beyond_the_rate_is_told_when_to_come_back() {
    let gateway = Gateway::start().await;
    let config = json!({ "per_second": 1, "burst": 1, "scope": "gateway" });
    gateway.change_pipeline(json!({ "rate-shaper": { "policy": "token-bucket", "config": config } })).await;
    let crowd = Crowd::before(&gateway, FIRST_COUPON);
    assert!(crowd.ask(1).await.is_accepted());
    let shed = gateway.client.post("/coupon/issue", payload(2, FIRST_COUPON)).await;
    assert_eq!(shed.refusal(), (429, "RATE_LIMITED".to_owned()));
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert_eq!(shed.header("ratelimit"), Some("\"rate-shaper\";r=0;t=1"));
    assert!(shed.header("ratelimit-policy").is_some(), "{shed}");

    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(crowd.ask(2).await.is_accepted(), "who was shed may come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_too_late_may_come_again_after_a_top_up() {
    let gateway = Gateway::start().await;
    let coupon = gateway.create(Campaign::of(2, 2)).await;
    let crowd = Crowd::before(&gateway, coupon);
    for user in 1..=2 {
        let receipt = crowd.ask(user).await.receipt().clone();
        assert_eq!(gateway.status(&receipt, "&wait=10s").await["status"], "ISSUED");
    }
    assert_eq!(crowd.ask(3).await.refusal(), (409, "SOLD_OUT"));

    let answer = gateway.change(coupon, "top-up", json!({ "amount": 1 })).await;
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3)), "{answer}");
    let receipt = crowd.ask(3).await.receipt().clone();
    assert_eq!(gateway.status(&receipt, "&wait=10s").await["status"], "ISSUED");
    let report = crowd.verdict_as(&gateway, Promised { total: 3, per_user_limit: 1, was_topped_up: true }).await;
    report.assert_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_rejected_by_settlement_may_come_again_after_a_top_up() {
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let coupon = gateway.create(Campaign::of(1, 1)).await;
    let crowd = Crowd::before(&gateway, coupon);
    let first = crowd.ask(1).await.receipt().clone();
    let late = crowd.ask(2).await.receipt().clone();
    gateway.stop().await;
    gateway.start_again_as(Launch::default()).await;
    assert_eq!(gateway.status(&first, "&wait=10s").await["status"], "ISSUED");
    let rejected = gateway.status(&late, "&wait=10s").await;
    assert_eq!((&rejected["status"], &rejected["reason"]), (&json!("REJECTED"), &json!("SOLD_OUT")));

    gateway.change(coupon, "top-up", json!({ "amount": 1 })).await;
    let again = eventually("the user may come again", Duration::from_secs(5), async || {
        let reply = crowd.ask(2).await;
        reply.is_accepted().then_some(reply)
    });
    let receipt = again.await.receipt().clone();
    assert_eq!(gateway.status(&receipt, "&wait=10s").await["status"], "ISSUED");
    assert_eq!(gateway.status(&late, "").await, rejected, "the first outcome stands");
}
