//! Gateways that share counters in Redis, and their behaviour while it is down.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::client::post;
use crate::harness::{Gateway, Home, Launch, eventually, free_address, payload};

const TIMEOUT: Duration = Duration::from_secs(10);

struct Redis(Child);

impl Redis {
    fn start(address: SocketAddr) -> Self {
        let port = address.port().to_string();
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        Self(server.expect("redis-server is installed"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn counting_at(redis: SocketAddr, on_unavailable: &str) -> Launch {
    let url = format!("redis://{redis}");
    Launch::with(&[("COUNTERS__URL", &url), ("COUNTERS__ON_UNAVAILABLE", on_unavailable)])
}

/// The status of `/readyz` and its entry for the counters.
async fn readiness(gateway: &Gateway) -> (u16, String) {
    let answer = gateway.operator.get("/readyz").await;
    (answer.status, answer.json()["counters"].as_str().unwrap_or_default().to_owned())
}

async fn wait_for_counters(gateway: &Gateway, is_up: bool) {
    eventually("the gateway sees whether Redis is up", TIMEOUT, async || {
        ((readiness(gateway).await.1 == "ok") == is_up).then_some(())
    })
    .await;
    let up = gateway.metrics().await.value("sluice_counters_up", &[]);
    assert_eq!(up, f64::from(u8::from(is_up)));
}

/// Each has its own log and ledger, and both count in one Redis.
async fn two_gateways() -> (Redis, [Gateway; 2]) {
    let address = free_address();
    let redis = Redis::start(address);
    let one = Gateway::launch(counting_at(address, "pass")).await;
    let other = Gateway::launch(counting_at(address, "pass")).await;
    wait_for_counters(&one, true).await;
    wait_for_counters(&other, true).await;
    (redis, [one, other])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_count_of_a_user() {
    let (_redis, [one, other]) = two_gateways().await;

    assert_eq!(one.client.post("/coupon/issue", payload(1, 104)).await.status, 202);
    let refused = other.client.post("/coupon/issue", payload(1, 104)).await;
    assert_eq!(refused.refusal(), (429, "USER_LIMIT".to_owned()), "{refused}");
    assert_eq!(other.client.post("/coupon/issue", payload(2, 104)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_idempotency_keys() {
    let (_redis, [one, other]) = two_gateways().await;
    let keyed = |body: String| {
        let mut request = post("/coupon/issue", body);
        request.headers_mut().insert("idempotency-key", "k".parse().expect("a header"));
        request
    };

    let (first, retry) =
        tokio::join!(one.client.call(keyed(payload(1, 104))), other.client.call(keyed(payload(1, 104))));
    assert_eq!((first.status, retry.status), (202, 202), "{first} {retry}");
    assert_eq!(first.json()["requestId"], retry.json()["requestId"]);
    let other_body = payload(1, 104).replace("FIXED", "RATE");
    let refused = other.client.call(keyed(other_body)).await;
    assert_eq!(refused.refusal(), (422, "IDEMPOTENCY_CONFLICT".to_owned()), "{refused}");
    let other_user = other.client.call(keyed(payload(2, 104))).await;
    assert_eq!(other_user.refusal(), (422, "IDEMPOTENCY_CONFLICT".to_owned()), "{other_user}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_through_another_gateway_is_the_same_request_although_the_campaign_was_paused_meanwhile() {
    let (_redis, [one, other]) = two_gateways().await;
    let keyed = |key: &'static str, user| {
        let mut request = post("/coupon/issue", payload(user, 104));
        request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        request
    };

    let first = one.client.call(keyed("k", 1)).await;
    assert_eq!(other.change(104, "pause", Value::Null).await.status, 200);
    // The other gateway has a ledger of its own, which does not know the request.
    let retry = other.client.call(keyed("k", 1)).await;
    assert_eq!((first.status, retry.status), (202, 202), "{first} {retry}");
    assert_eq!(first.json()["requestId"], retry.json()["requestId"]);
    let new = other.client.call(keyed("n", 2)).await;
    assert_eq!(new.refusal(), (409, "PAUSED".to_owned()), "{new}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_outage_in_pass_mode_keeps_the_gateway_ready_and_is_reported() {
    let address = free_address();
    let gateway = Gateway::launch(counting_at(address, "pass")).await;
    let (status, counters) = readiness(&gateway).await;
    assert!(status == 200 && counters.contains("refused"), "{status} {counters}");
    wait_for_counters(&gateway, false).await;
    assert_eq!(gateway.client.post("/coupon/issue", payload(1, 104)).await.status, 202);
    assert!(gateway.metrics().await.value("sluice_counters_unavailable_total", &[]) >= 2.0);

    let redis = Redis::start(address);
    wait_for_counters(&gateway, true).await;
    assert_eq!(gateway.client.post("/coupon/issue", payload(2, 104)).await.status, 202);
    assert_eq!(gateway.client.post("/coupon/issue", payload(2, 104)).await.status, 429);
    drop(redis);
    wait_for_counters(&gateway, false).await;
    assert_eq!(readiness(&gateway).await.0, 200);
    assert_eq!(gateway.client.post("/coupon/issue", payload(3, 104)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_outage_in_refuse_mode_fails_the_start_and_readiness() {
    let address = free_address();
    let launch = counting_at(address, "refuse");
    let home = Home::new(free_address(), free_address());
    let ended = launch.command(home.path(), &["serve", "--config", "sluice.toml"]).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{stderr}");
    for part in ["counters.url: ", &address.to_string(), "refused", "counters.on_unavailable = \"pass\""] {
        assert!(stderr.contains(part), "{stderr}");
    }

    let redis = Redis::start(address);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let gateway = Gateway::launch(launch).await;
    assert_eq!(readiness(&gateway).await, (200, "ok".to_owned()));
    drop(redis);
    wait_for_counters(&gateway, false).await;
    assert_eq!(readiness(&gateway).await.0, 503);
    let refused = gateway.client.post("/coupon/issue", payload(1, 104)).await;
    assert_eq!(refused.refusal(), (503, "POLICY_UNAVAILABLE".to_owned()), "{refused}");
}
