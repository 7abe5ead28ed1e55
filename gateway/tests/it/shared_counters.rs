//! Gateways that share their counters in Redis, with it and without.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Gateway, Home, Launch, eventually, free_address, payload};

const SOON: Duration = Duration::from_secs(10);

/// A Redis of the test's own; it ends with the test.
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
        // One that has ended is as gone as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn counting_at(redis: SocketAddr, on_unavailable: &str) -> Launch {
    let url = format!("redis://{redis}");
    Launch::with(&[("COUNTERS__URL", &url), ("COUNTERS__ON_UNAVAILABLE", on_unavailable)])
}

/// What `/readyz` says of the counters, with its status.
async fn readiness(gateway: &Gateway) -> (u16, String) {
    let answer = gateway.client.get("/readyz").await;
    (answer.status, answer.json()["counters"].as_str().unwrap_or_default().to_owned())
}

async fn until_counting_is(gateway: &Gateway, is_up: bool) {
    eventually("the gateway knows of it", SOON, async || ((readiness(gateway).await.1 == "ok") == is_up).then_some(()))
        .await;
    let up = gateway.metrics().await.value("sluice_counters_up", &[]);
    assert_eq!(up, f64::from(u8::from(is_up)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_asks_two_gateways_is_counted_once() {
    let address = free_address();
    let _redis = Redis::start(address);
    let one = Gateway::launch(counting_at(address, "pass")).await;
    let other = Gateway::launch(counting_at(address, "pass")).await;
    until_counting_is(&one, true).await;
    until_counting_is(&other, true).await;

    assert_eq!(one.client.post("/coupon/issue", payload(1, 104)).await.status, 202);
    let refused = other.client.post("/coupon/issue", payload(1, 104)).await;
    assert_eq!(refused.refusal(), (429, "USER_LIMIT".to_owned()), "{refused}");
    assert_eq!(other.client.post("/coupon/issue", payload(2, 104)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_can_do_without_goes_on_and_says_so() {
    let address = free_address();
    let gateway = Gateway::launch(counting_at(address, "pass")).await;
    let (status, counters) = readiness(&gateway).await;
    assert!(status == 200 && counters.contains("refused"), "{status} {counters}");
    until_counting_is(&gateway, false).await;
    assert_eq!(gateway.client.post("/coupon/issue", payload(1, 104)).await.status, 202);
    assert!(gateway.metrics().await.value("sluice_counters_unavailable_total", &[]) >= 2.0);

    let redis = Redis::start(address);
    until_counting_is(&gateway, true).await;
    assert_eq!(gateway.client.post("/coupon/issue", payload(2, 104)).await.status, 202);
    assert_eq!(gateway.client.post("/coupon/issue", payload(2, 104)).await.status, 429);
    drop(redis);
    until_counting_is(&gateway, false).await;
    assert_eq!(readiness(&gateway).await.0, 200);
    assert_eq!(gateway.client.post("/coupon/issue", payload(3, 104)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_do_without_neither_starts_nor_stays_ready() {
    let address = free_address();
    let launch = counting_at(address, "refuse");
    let home = Home::new(free_address(), free_address());
    let ended = launch.command(home.path(), &["serve", "--config", "sluice.toml"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    for part in ["counters.url: ", &address.to_string(), "refused", "counters.on_unavailable = \"pass\""] {
        assert!(said.contains(part), "{said}");
    }

    let redis = Redis::start(address);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let gateway = Gateway::launch(launch).await;
    assert_eq!(readiness(&gateway).await, (200, "ok".to_owned()));
    drop(redis);
    until_counting_is(&gateway, false).await;
    assert_eq!(readiness(&gateway).await.0, 503);
    let refused = gateway.client.post("/coupon/issue", payload(1, 104)).await;
    assert_eq!(refused.refusal(), (503, "POLICY_UNAVAILABLE".to_owned()), "{refused}");
}
