//! Operator calls: campaigns, resharding under load, metrics and the protection of the admin listener.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use serde_json::json;

use crate::client::{Answer, Client, post, raw};
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, eventually, free_address, machine, payload};

/// Campaigns open and close this long after they were created. Until then a test sends a handful of requests, also on a
/// busy machine.
const CHANGES_IN_SECONDS: i64 = 10;

fn from_now(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_a_campaign_is_idempotent_and_conflicts_when_it_differs() {
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(10, 4);
    let coupon = gateway.create(campaign).await;
    let again = gateway.operator.post("/admin/coupons", campaign.json().to_string()).await;
    assert_eq!(again.status, 200, "{again}");
    let other = gateway.operator.post("/admin/coupons", Campaign::of(11, 4).json().to_string()).await;
    assert_eq!(other.refusal(), (409, "COUPON_EXISTS".to_owned()), "{other}");

    let shown = gateway.operator.get(&format!("/admin/coupons/{coupon}")).await.json();
    let shard = |shard_no, remaining| json!({ "shardNo": shard_no, "remaining": remaining });
    let expected = json!({
        "couponId": coupon, "policyId": Campaign::POLICY, "state": "OPEN", "total": 10, "remaining": 10,
        "perUserLimit": 1, "group": 0, "shards": [shard(0, 3), shard(1, 3), shard(2, 2), shard(3, 2)],
    });
    assert_eq!(shown, expected);
    let listed = gateway.operator.get("/admin/coupons").await.json();
    assert!(listed.as_array().expect("a list").contains(&expected), "{listed}");
    let unknown = gateway.operator.get("/admin/coupons/999").await;
    assert_eq!(unknown.refusal(), (404, "COUPON_NOT_FOUND".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_campaign_can_be_resumed_and_a_closed_one_cannot() {
    let gateway = Gateway::start().await;
    let coupon = gateway.create(Campaign::of(10, 2)).await;
    let crowd = Crowd::at(&gateway, coupon);

    assert_eq!(gateway.change(coupon, "pause", json!({})).await.json()["state"], "PAUSED");
    assert_eq!(crowd.request(1).await.refusal(), (409, "PAUSED"));
    assert_eq!(gateway.change(coupon, "resume", json!({})).await.json()["state"], "OPEN");
    assert!(crowd.request(1).await.is_accepted());
    assert_eq!(gateway.change(coupon, "close", json!({})).await.json()["state"], "CLOSED");
    assert_eq!(crowd.request(2).await.refusal(), (409, "CLOSED"));
    let reopened = gateway.change(coupon, "resume", json!({})).await;
    assert_eq!(reopened.refusal(), (409, "CLOSED".to_owned()), "{reopened}");
    crowd.verify(&gateway, Campaign::of(10, 2)).await.assert_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_opens_and_closes_at_its_times() {
    let gateway = Gateway::start().await;
    let create = async |coupon: u64, key: &str, time: String| {
        let mut body = Campaign { coupon, ..Campaign::of(10, 2) }.json();
        body[key] = json!(time);
        let answer = gateway.operator.post("/admin/coupons", body.to_string()).await;
        assert_eq!(answer.status, 201, "{answer}");
        Crowd::at(&gateway, coupon)
    };
    let opening = create(1, "opensAt", from_now(CHANGES_IN_SECONDS)).await;
    let closing = create(2, "closesAt", from_now(CHANGES_IN_SECONDS)).await;
    let never = create(3, "opensAt", from_now(3600)).await;

    let early = gateway.client.post("/coupon/issue", payload(1, 1)).await;
    assert_eq!(early.refusal(), (409, "NOT_OPEN".to_owned()));
    let seconds: i64 = early.header("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((1..=CHANGES_IN_SECONDS).contains(&seconds), "{seconds}");
    assert!(closing.request(1).await.is_accepted());

    eventually("it opens", Duration::from_secs(30), async || opening.request(1).await.is_accepted().then_some(()))
        .await;
    let is_closed = async || {
        let answer = closing.request(2).await;
        (!answer.is_accepted() && answer.refusal() == (409, "CLOSED")).then_some(())
    };
    eventually("it closes", Duration::from_secs(30), is_closed).await;
    assert_eq!(never.request(1).await.refusal(), (409, "NOT_OPEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn resharding_under_load_keeps_the_total() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(2_500, 4);
    let coupon = gateway.create(campaign).await;
    let crowd = Crowd::at(&gateway, coupon);
    let operator = async {
        for shards in [7, 2, 16, 1, 5] {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let answer = gateway.change(coupon, "reshard", json!({ "shards": shards })).await;
            assert_eq!(answer.status, 200, "{answer}");
            assert_eq!(answer.json()["shards"].as_array().map(Vec::len), Some(shards));
        }
    };
    tokio::join!(operator, crowd.send_at_rate(1_000.0, 1..=3_000));
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!(report.issued(), 2_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_exists_at_zero_after_a_start() {
    let gateway = Gateway::start().await;
    let metrics = gateway.metrics().await;
    let hooks = ["rate-shaper", "user-limit", "shard-picker"].map(|hook| [("hook", hook)]);
    for outcome in ["accepted", "sold_out", "user_limit", "rate_limited", "overloaded", "log_unavailable", "malformed"]
    {
        assert_eq!(metrics.value("sluice_issue_requests_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for outcome in ["issued", "sold_out", "user_limit", "invalid"] {
        assert_eq!(metrics.value("sluice_settled_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for partition in 0..12 {
        let labels = [("partition", &*partition.to_string())];
        for name in ["sluice_log_lag_records", "sluice_log_gap_records"] {
            assert_eq!(metrics.value(name, &labels), 0.0, "{name} {partition}");
        }
    }
    for labels in &hooks {
        assert!(metrics.has("sluice_policy_call_seconds_count", labels), "{labels:?}");
        assert!(metrics.has("sluice_policy_failures_total", labels), "{labels:?}");
        assert_eq!(metrics.sum("sluice_policy_failures_total", labels), 0.0, "{labels:?}");
        assert!(metrics.sum("sluice_policy_instances", labels) > 0.0, "{labels:?}");
    }
    for name in [
        "sluice_issue_duration_seconds_count",
        "sluice_log_append_seconds_count",
        "sluice_settlement_batch_records_count",
        "sluice_settlement_seconds_count",
    ] {
        assert_eq!(metrics.value(name, &[]), 0.0, "{name}");
    }
    assert_eq!(metrics.value("sluice_policy_generation", &[]), 1.0);
    assert_eq!(metrics.value("sluice_policy_generation_recorded", &[]), 1.0);
    assert_eq!(metrics.value("sluice_shard_steals_total", &[("coupon", "104")]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn public_and_admin_listeners_serve_only_their_own_calls() {
    let gateway = Gateway::start().await;
    for client in [&gateway.client, &gateway.operator] {
        assert_eq!((client.get("/livez").await.status, client.get("/readyz").await.status), (200, 200));
    }
    for path in ["/metrics", "/admin/coupons", "/admin/log", "/admin/pipeline", "/admin/policies"] {
        assert_eq!(gateway.client.get(path).await.refusal(), (404, "NOT_FOUND".to_owned()), "{path}");
        assert_eq!(gateway.operator.get(path).await.status, 200, "{path}");
    }
    let issue = gateway.operator.post("/coupon/issue", payload(1, 104)).await;
    assert_eq!(issue.refusal(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_rejects_requests_from_another_origin() {
    let gateway = Gateway::start().await;
    let mut request = post("/admin/coupons/104/close", "{}");
    request.headers_mut().insert("origin", "http://elsewhere.example".parse().expect("a header"));
    let answer = gateway.operator.call(request).await;
    assert_eq!(answer.refusal(), (403, "FORBIDDEN".to_owned()), "{answer}");
    assert_eq!(gateway.operator.get("/admin/coupons/104").await.json()["state"], "OPEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_that_rebinds_its_name_to_this_machine_may_not_operate() {
    let gateway = Gateway::start().await;
    let call = async |request: String| {
        let answer = raw(gateway.admin, request.as_bytes(), Duration::from_secs(30)).await;
        Answer::of_text(&answer).expect("an answer")
    };
    for host in ["evil.example", "evil.example:8081", "localhost.evil.example", "10.1.2.3"] {
        let head = format!("Host: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        for target in ["/admin/coupons/104/close", "/admin/pipeline/rollback"] {
            let answer = call(format!("POST {target} HTTP/1.1\r\n{head}")).await;
            assert_eq!(answer.refusal(), (403, "FORBIDDEN".to_owned()), "{host}: {answer}");
        }
        let answer = call(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(answer.status, 403, "{host}: {answer}");
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8081"] {
        let answer = call(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{host}: {answer}");
    }
    assert_eq!(gateway.operator.get("/admin/coupons/104").await.json()["state"], "OPEN");
}

/// An address of this machine other than loopback, if it has one. Connecting a UDP socket sends nothing.
fn outward_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_call_from_another_machine_needs_the_token() {
    let Some(mut outward) = outward_address() else {
        println!("skipped: this machine has only a loopback address");
        return;
    };
    const TOKEN: &str = "a token that is long enough";
    let everywhere = SocketAddr::from(([0, 0, 0, 0], free_address().port()));
    outward.set_port(everywhere.port());
    let gateway = Gateway::listening_to_operators_at(everywhere, TOKEN).await;
    let elsewhere = Client::to(outward);

    let answer = elsewhere.get("/admin/coupons").await;
    assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()), "{answer}");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    for probe in ["/livez", "/readyz"] {
        assert_eq!(elsewhere.get(probe).await.status, 200, "{probe} needs no token");
    }
    for (scheme, token, status) in
        [("Bearer", "a token that is wrong altogether", 401), ("Bearer", TOKEN, 200), ("bearer", TOKEN, 200)]
    {
        let request = Request::get("/admin/coupons").header("authorization", format!("{scheme} {token}"));
        let answer = elsewhere.call(request.body(Full::default()).expect("a request")).await;
        assert_eq!(answer.status, status, "{answer}");
    }
    let local = Client::to(SocketAddr::from(([127, 0, 0, 1], gateway.admin.port())));
    assert_eq!(local.get("/admin/coupons").await.status, 200, "a call from loopback needs no token");
}

impl Gateway {
    async fn listening_to_operators_at(admin: SocketAddr, token: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        // As a Windows editor writes it.
        std::fs::write(file.path(), format!("\u{feff}{token}\r\n")).expect("writes");
        let path = file.path().to_str().expect("utf-8");
        Self::with_admin_at(admin, &[("ADMIN__TOKEN_FILE", path)]).await
    }
}
