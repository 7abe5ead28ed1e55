//! Gateways that share counters in Redis, and their behaviour while it is down.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::{Answer, post};
use crate::harness::{Gateway, Home, Launch, eventually, free_address, payload};

const TIMEOUT: Duration = Duration::from_secs(60);

struct Redis(Child);

impl Redis {
    /// Returns when it accepts connections.
    async fn start(address: SocketAddr) -> Self {
        let port = address.port().to_string();
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        let redis = Self(server.expect("redis-server is installed"));
        eventually("Redis listens", TIMEOUT, async || TcpStream::connect(address).await.ok()).await;
        redis
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
    eventually("the metric follows", TIMEOUT, async || {
        let up = gateway.metrics().await.value("sluice_counters_up", &[]);
        (up == f64::from(u8::from(is_up))).then_some(())
    })
    .await;
}

/// Each has its own log and ledger, and both count in one Redis. A request that Redis does not count is refused.
async fn two_gateways() -> (Redis, [Gateway; 2]) {
    let address = free_address();
    let redis = Redis::start(address).await;
    let one = Gateway::launch(counting_at(address, "refuse")).await;
    let other = Gateway::launch(counting_at(address, "refuse")).await;
    wait_for_counters(&one, true).await;
    wait_for_counters(&other, true).await;
    (redis, [one, other])
}

/// Sends a request until Redis has answered the gateway in time: it has 50 ms, which may pass on a busy machine.
async fn counted(gateway: &Gateway, request: Request<Full<Bytes>>) -> Answer {
    eventually("Redis answers in time", TIMEOUT, async || {
        let answer = gateway.client.call(request.clone()).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

fn of_user(user: u64) -> Request<Full<Bytes>> {
    post("/coupon/issue", payload(user, 104))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_count_of_a_user() {
    let (_redis, [one, other]) = two_gateways().await;

    assert_eq!(counted(&one, of_user(1)).await.status, 202);
    let refused = counted(&other, of_user(1)).await;
    assert_eq!(refused.refusal(), (429, "USER_LIMIT".to_owned()), "{refused}");
    assert_eq!(counted(&other, of_user(2)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_idempotency_keys() {
    let (_redis, [one, other]) = two_gateways().await;
    let keyed = |body: String| {
        let mut request = post("/coupon/issue", body);
        request.headers_mut().insert("idempotency-key", "k".parse().expect("a header"));
        request
    };

    let (first, retry) = tokio::join!(counted(&one, keyed(payload(1, 104))), counted(&other, keyed(payload(1, 104))));
    assert_eq!((first.status, retry.status), (202, 202), "{first} {retry}");
    assert_eq!(first.json()["requestId"], retry.json()["requestId"]);
    let other_body = payload(1, 104).replace("FIXED", "RATE");
    let refused = counted(&other, keyed(other_body)).await;
    assert_eq!(refused.refusal(), (422, "IDEMPOTENCY_CONFLICT".to_owned()), "{refused}");
    let other_user = counted(&other, keyed(payload(2, 104))).await;
    assert_eq!(other_user.refusal(), (422, "IDEMPOTENCY_CONFLICT".to_owned()), "{other_user}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_through_another_gateway_is_the_same_request_although_the_campaign_was_paused_meanwhile() {
    let (_redis, [one, other]) = two_gateways().await;
    let keyed = |key: &'static str, user| {
        let mut request = of_user(user);
        request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        request
    };

    let first = counted(&one, keyed("k", 1)).await;
    assert_eq!(first.status, 202, "{first}");
    assert_eq!(other.change(104, "pause", Value::Null).await.status, 200);
    // The other gateway has a ledger of its own, which does not know the request. While Redis does not answer in time, the
    // request counts as new, and new ones are refused as paused.
    let retry = eventually("the retry is accepted", TIMEOUT, async || {
        let retry = other.client.call(keyed("k", 1)).await;
        (retry.status == 202).then_some(retry)
    })
    .await;
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

    let redis = Redis::start(address).await;
    wait_for_counters(&gateway, true).await;
    // Redis may answer too late on a busy machine, and then the request passes.
    let mut users = 2..;
    eventually("the second request of a user is refused", TIMEOUT, async || {
        let user = users.next().expect("users");
        assert_eq!(gateway.client.call(of_user(user)).await.status, 202, "the first one is not");
        (gateway.client.call(of_user(user)).await.status == 429).then_some(())
    })
    .await;
    drop(redis);
    wait_for_counters(&gateway, false).await;
    assert_eq!(readiness(&gateway).await.0, 200);
    let user = users.next().expect("users");
    assert_eq!(gateway.client.call(of_user(user)).await.status, 202);
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

    let redis = Redis::start(address).await;
    let gateway = Gateway::launch(launch).await;
    assert_eq!(readiness(&gateway).await, (200, "ok".to_owned()));
    drop(redis);
    wait_for_counters(&gateway, false).await;
    assert_eq!(readiness(&gateway).await.0, 503);
    let refused = gateway.client.post("/coupon/issue", payload(1, 104)).await;
    assert_eq!(refused.refusal(), (503, "POLICY_UNAVAILABLE".to_owned()), "{refused}");
}
