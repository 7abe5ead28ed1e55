//! The main job: request a coupon, read the outcome, retry.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checker::{CampaignLimits, Receipt};
use crate::client::{Answer, post};
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Launch, eventually, machine, payload};
use crate::load;

/// The coupon of a new ledger, which the README requests.
const FIRST_COUPON: u64 = 104;
/// For waits that measure nothing, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Gateway {
    /// `more` is appended to the query of the status URL.
    async fn status(&self, receipt: &Receipt, more: &str) -> Value {
        let answer = self.client.get(&format!("{}{more}", receipt.status_url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// A client may read an outcome from the ledger a moment before the gateway knows the stock that is left.
    async fn wait_for_stock(&self, coupon: u64, remaining: f64) {
        let labels = [("coupon", &*coupon.to_string())];
        let stock = async || self.metrics().await.sum("sluice_shard_remaining", &labels);
        eventually("the gateway knows the stock", PATIENCE, async || (stock().await == remaining).then_some(())).await;
    }

    async fn issue_under(&self, key: &str, body: String) -> Answer {
        let mut request = post("/coupon/issue", body);
        request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        self.client.call(request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_issued_one_coupon_from_one_shard_within_a_second() {
    machine::exclusive();
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

    let status = gateway.client.get(&format!("{status_url}&wait=30s")).await.json();
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    assert_eq!((&status["requestId"], &status["status"]), (&body["requestId"], &json!("ISSUED")));
    assert_eq!(status["couponId"], FIRST_COUPON);

    gateway.wait_for_stock(FIRST_COUPON, 9_999.0).await;
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
    let ended = gateway.client.get(&format!("{status_url}&wait=30s")).await.json();
    assert_eq!(ended["status"], "ISSUED");

    gateway.kill().await;
    gateway.restart().await;
    let late = gateway.issue_under("order-1", payload(1, FIRST_COUPON)).await;
    assert_eq!((late.status, &late.json()["status"]), (202, &json!("ISSUED")), "{late}");
    assert_eq!(late.json()["statusUrl"], *status_url);
    assert_eq!(gateway.audit(FIRST_COUPON).await.granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_body_conflicts_but_field_order_does_not_matter() {
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
async fn fifty_concurrent_retries_under_one_key_are_one_request() {
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let sender = crowd.clone();
    let retry = move |_| {
        let crowd = sender.clone();
        async move { crowd.request_with_key(1, Some("the same key".to_owned())).await }
    };
    let replies = load::run_closed(50, 0..50, retry).await;
    let accepted: Vec<_> = replies.iter().filter(|reply| reply.is_accepted()).collect();
    assert_eq!(accepted.len(), 50, "{replies:?}");
    assert!(accepted.iter().all(|reply| reply.receipt().request_id == accepted[0].receipt().request_id));
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!(report.audit.granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_request_has_a_position_and_settles_once_settlement_runs() {
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let crowd = Crowd::at(&gateway, gateway.create(Campaign::of(100, 1)).await);
    let mut receipts = Vec::new();
    for user in 1..=3 {
        receipts.push(crowd.request(user).await.receipt().clone());
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
    gateway.restart_as(Launch::default()).await;
    for receipt in &receipts {
        assert_eq!(gateway.status(receipt, "&wait=30s").await["status"], "ISSUED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_request_id_is_answered_with_404() {
    let gateway = Gateway::start().await;
    let receipt = Crowd::at(&gateway, FIRST_COUPON).request(1).await.receipt().clone();
    let known = gateway.client.get(&format!("/coupon/issue/{}?wait=30s", receipt.request_id)).await;
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
async fn a_second_request_of_a_user_is_rejected_with_user_limit() {
    let gateway = Gateway::start().await;
    let crowd = Crowd::at(&gateway, FIRST_COUPON);
    assert!(crowd.request(1).await.is_accepted());
    let second = gateway.client.post("/coupon/issue", payload(1, FIRST_COUPON)).await;
    assert_eq!(second.refusal(), (429, "USER_LIMIT".to_owned()));
    assert_eq!(second.header("ratelimit"), Some("\"user-limit\";r=0"));
    assert!(crowd.request(2).await.is_accepted(), "other users are not limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_enforces_per_user_limit_when_the_policy_does_not() {
    let gateway = Gateway::start().await;
    gateway.set_request_limit(100).await;
    let campaign = Campaign { per_user_limit: 2, ..Campaign::of(100, 4) };
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    crowd.send_burst(8, std::iter::repeat_n(1, 10)).await;
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued(), report.audit.user_limit), (10, 2, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_request_carries_retry_after_and_ratelimit_headers() {
    let gateway = Gateway::start().await;
    let config = json!({ "per_second": 1, "burst": 1, "scope": "gateway" });
    gateway.change_pipeline(json!({ "rate-shaper": { "policy": "token-bucket", "config": config } })).await;
    let crowd = Crowd::at(&gateway, FIRST_COUPON);
    let begun = Instant::now();
    assert!(crowd.request(1).await.is_accepted());
    // On a busy machine, seconds may pass between two requests: each of them brings a token.
    let mut users = 2..;
    let is_refused = async || {
        let user = users.next().expect("users");
        let answer = gateway.client.post("/coupon/issue", payload(user, FIRST_COUPON)).await;
        (answer.status != 202).then_some((user, answer))
    };
    let (user, shed) = eventually("a request is refused", PATIENCE, is_refused).await;
    let (accepted, tokens) = (user - 1, 1 + begun.elapsed().as_secs());
    assert!(accepted <= tokens, "{accepted} accepted, {tokens} tokens");
    assert_eq!(shed.refusal(), (429, "RATE_LIMITED".to_owned()));
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert_eq!(shed.header("ratelimit"), Some("\"rate-shaper\";r=0;t=1"));
    assert!(shed.header("ratelimit-policy").is_some(), "{shed}");

    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(crowd.request(user).await.is_accepted(), "a rate-limited user may retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_refused_with_sold_out_is_issued_a_coupon_after_a_top_up() {
    let gateway = Gateway::start().await;
    let coupon = gateway.create(Campaign::of(2, 2)).await;
    let crowd = Crowd::at(&gateway, coupon);
    for user in 1..=2 {
        let receipt = crowd.request(user).await.receipt().clone();
        assert_eq!(gateway.status(&receipt, "&wait=30s").await["status"], "ISSUED");
    }
    gateway.wait_for_stock(coupon, 0.0).await;
    assert_eq!(crowd.request(3).await.refusal(), (409, "SOLD_OUT"));

    let answer = gateway.change(coupon, "top-up", json!({ "amount": 1 })).await;
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3)), "{answer}");
    let receipt = crowd.request(3).await.receipt().clone();
    assert_eq!(gateway.status(&receipt, "&wait=30s").await["status"], "ISSUED");
    let report =
        crowd.verify_against(&gateway, CampaignLimits { total: 3, per_user_limit: 1, was_topped_up: true }).await;
    report.assert_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_rejected_by_settlement_is_issued_a_coupon_after_a_top_up() {
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let coupon = gateway.create(Campaign::of(1, 1)).await;
    let crowd = Crowd::at(&gateway, coupon);
    let first = crowd.request(1).await.receipt().clone();
    let late = crowd.request(2).await.receipt().clone();
    gateway.stop().await;
    gateway.restart_as(Launch::default()).await;
    assert_eq!(gateway.status(&first, "&wait=30s").await["status"], "ISSUED");
    let rejected = gateway.status(&late, "&wait=30s").await;
    assert_eq!((&rejected["status"], &rejected["reason"]), (&json!("REJECTED"), &json!("SOLD_OUT")));

    gateway.change(coupon, "top-up", json!({ "amount": 1 })).await;
    let again = eventually("the user may come again", PATIENCE, async || {
        let reply = crowd.request(2).await;
        reply.is_accepted().then_some(reply)
    });
    let receipt = again.await.receipt().clone();
    assert_eq!(gateway.status(&receipt, "&wait=30s").await["status"], "ISSUED");
    assert_eq!(gateway.status(&late, "").await, rejected, "an outcome never changes");
}
