//! Every bound is named: past it a client is told so, and others go on.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, raw};
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, machine};
use crate::load;

/// The gateway gives a client 10 s for its headers and as much for its body.
const CUT_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_be_on_their_way_are_shed_at_once() {
    let gateway = Gateway::with(&[("HTTP__IN_FLIGHT_MAX", "8")]).await;
    // It holds every request for as long as a policy may.
    gateway.suffer("rate-shaper", "stall").await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let begun = Instant::now();
    crowd.rush(40, 1..=40).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "held for {:?}", begun.elapsed());
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!(report.accepted, 8);
    assert_eq!(report.refused.get(&(503, "OVERLOADED".to_owned())), Some(&32), "{report}");
    let quickest_half = crowd.latencies().quantile(0.5);
    assert!(quickest_half < Duration::from_secs(1), "shed after {quickest_half:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shed_is_told_when_to_come_back() {
    let gateway = Gateway::with(&[("HTTP__IN_FLIGHT_MAX", "1")]).await;
    gateway.suffer("rate-shaper", "stall").await;
    let first = Crowd::before(&gateway, 104);
    let asking = first.clone();
    let held = tokio::spawn(async move { asking.ask(1).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let shed = gateway.client.post("/coupon/issue", crate::harness::payload(2, 104)).await;
    assert_eq!(shed.refusal(), (503, "OVERLOADED".to_owned()));
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert!(held.await.expect("does not panic").is_accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_its_body_too_slowly_is_cut() {
    let gateway = Gateway::start().await;
    let half = "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\nConnection: close\r\n\r\n{\"userId\":";
    let begun = Instant::now();
    let answer = raw(gateway.http, half.as_bytes(), CUT_WITHIN).await;
    assert!(begun.elapsed() < CUT_WITHIN, "was not cut");
    let answer = Answer::of_text(&answer).expect("an answer");
    assert_eq!(answer.refusal(), (408, "TIMEOUT".to_owned()), "{answer}");
    assert_eq!(answer.json()["detail"], "the body did not arrive within 10 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_its_headers_too_slowly_is_cut() {
    let gateway = Gateway::start().await;
    let begun = Instant::now();
    raw(gateway.http, b"POST /coupon/issue HTTP/1.1\r\nHost:", CUT_WITHIN).await;
    let took = begun.elapsed();
    assert!((Duration::from_secs(5)..CUT_WITHIN).contains(&took), "cut after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_their_bound_are_refused() {
    let gateway = Gateway::start().await;
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(17 * 1024));
    let answer = Answer::of_text(&raw(gateway.http, long.as_bytes(), CUT_WITHIN).await).expect("an answer");
    assert_eq!(answer.status, 431);
    assert_eq!(gateway.client.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_waits_until_another_ends() {
    let gateway = Gateway::with(&[("HTTP__CONNECTIONS_MAX", "2")]).await;
    let idle = [tokio::net::TcpStream::connect(gateway.http), tokio::net::TcpStream::connect(gateway.http)];
    let mut open = Vec::new();
    for connection in idle {
        open.push(connection.await.expect("connects"));
    }
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let waits = raw(gateway.http, request, Duration::from_millis(500)).await;
    assert_eq!(waits, "", "the third has no place");
    drop(open);
    let served = raw(gateway.http, request, CUT_WITHIN).await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_is_kept_sheds_the_rest_and_loses_nothing() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let config = json!({ "per_second": 500, "burst": 100 });
    gateway.change_pipeline(json!({ "rate-shaper": { "policy": "token-bucket", "config": config } })).await;
    let campaign = Campaign::of(10_000, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let begun = Instant::now();
    crowd.stream(2_000.0, 1..=6_000).await;
    let allowed = 100.0 + 500.0 * begun.elapsed().as_secs_f64();
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    println!("{:.0} accepted a second", load::per_second(report.accepted, begun));
    let accepted = report.accepted as f64;
    assert!((allowed * 0.9..=allowed * 1.05).contains(&accepted), "{accepted} accepted, {allowed} allowed");
    assert_eq!(report.refused.keys().collect::<Vec<_>>(), [&(429, "RATE_LIMITED".to_owned())]);
}
