//! Beyond a bound a client gets a clear answer, and other clients are not affected.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, raw};
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Launch, eventually, machine, payload};
use crate::load;

/// The gateway gives a client 10 s for its headers and as much for its body. The rest is for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_in_flight_max_are_shed_immediately() {
    machine::exclusive();
    let gateway = Gateway::with(&[("HTTP__IN_FLIGHT_MAX", "8")]).await;
    // The policy asks for the longest delay, which keeps requests in flight.
    gateway.activate_hostile("rate-shaper", "stall").await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let begun = Instant::now();
    crowd.send_burst(40, 1..=40).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "held for {:?}", begun.elapsed());
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!(report.accepted, 8);
    assert_eq!(report.refused.get(&(503, "OVERLOADED".to_owned())), Some(&32), "{report}");
    let quickest_half = crowd.latencies().quantile(0.5);
    assert!(quickest_half < Duration::from_secs(1), "shed after {quickest_half:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shed_request_carries_retry_after() {
    let gateway = Gateway::with(&[("HTTP__IN_FLIGHT_MAX", "1")]).await;
    gateway.activate_hostile("rate-shaper", "stall").await;
    // The one that comes second finds the other in flight, whichever it is.
    let (one, other) = tokio::join!(
        gateway.client.post("/coupon/issue", payload(1, 104)),
        gateway.client.post("/coupon/issue", payload(2, 104))
    );
    let (held, shed) = if one.status == 202 { (one, other) } else { (other, one) };
    assert_eq!(held.status, 202, "{held}");
    assert_eq!(shed.refusal(), (503, "OVERLOADED".to_owned()));
    assert_eq!(shed.header("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_its_body_too_slowly_times_out() {
    let gateway = Gateway::start().await;
    let half = "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\nConnection: close\r\n\r\n{\"userId\":";
    let begun = Instant::now();
    let answer = raw(gateway.http, half.as_bytes(), CLOSED_WITHIN).await;
    assert!(begun.elapsed() < CLOSED_WITHIN, "the connection was not closed");
    let answer = Answer::of_text(&answer).expect("an answer");
    assert_eq!(answer.refusal(), (408, "TIMEOUT".to_owned()), "{answer}");
    assert_eq!(answer.json()["detail"], "the body was not received within 10 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_16_kib_are_rejected() {
    let gateway = Gateway::start().await;
    let head = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let long = format!("{head}X-Long: {}\r\n\r\n", "x".repeat(17 * 1024));
    let answer = Answer::of_text(&raw(gateway.http, long.as_bytes(), CLOSED_WITHIN).await).expect("an answer");
    assert_eq!(answer.status, 431);
    assert_eq!(gateway.client.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_connections_max_waits_for_a_free_one() {
    let gateway = Gateway::with(&[("HTTP__CONNECTIONS_MAX", "2")]).await;
    let idle = [tokio::net::TcpStream::connect(gateway.http), tokio::net::TcpStream::connect(gateway.http)];
    let mut open = Vec::new();
    for connection in idle {
        open.push(connection.await.expect("connects"));
    }
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let waits = raw(gateway.http, request, Duration::from_millis(500)).await;
    assert_eq!(waits, "", "the third connection waits");
    drop(open);
    let served = raw(gateway.http, request, CLOSED_WITHIN).await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
}

/// Connections past the limit of open files would leave none for operators, the compiler and databases.
#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_open_files_for_all_else_that_a_gateway_does() {
    const OPEN_FILES_MAX: usize = 260;
    const FOLLOWED_WITHIN: Duration = Duration::from_secs(120);
    let gateway = Gateway::launch(Launch::with_open_files_limit(OPEN_FILES_MAX)).await;
    let mut silent = Vec::new();
    for _ in 0..OPEN_FILES_MAX + 40 {
        silent.push(tokio::net::TcpStream::connect(gateway.http).await.expect("connects"));
    }
    // As long as the client waits: the compiler has a low priority, and may wait for other tests.
    assert_eq!(gateway.set_shard_picker("weighted").await, 2, "operators are answered, and components compiled");
    drop(silent);
    assert!(Crowd::at(&gateway, 104).request(1).await.is_accepted());
    // The file says what it said before: only its pipeline is changed.
    gateway.home.configure("[pipeline.shard-picker]\npolicy = \"hash-user\"\n");
    let is_changed = async || (gateway.pipeline().await["generation"] == 3).then_some(());
    eventually("the file is followed", FOLLOWED_WITHIN, is_changed).await;
    // On a busy machine a policy may miss its deadline, and the database be slow.
    let is_slow = |line: &Value| {
        line["reason"] == "deadline" || line["message"].as_str().is_some_and(|text| text.contains("threshold"))
    };
    let problems = gateway.logged_problems().into_iter().filter(|line| !is_slow(line));
    let logged: Vec<_> = problems.map(|line| line["message"].clone()).collect();
    assert_eq!(
        logged,
        ["http.connections_max reduced: the limit of open files leaves room for no more; raise that limit"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_bucket_admits_its_rate_and_every_accepted_request_settles() {
    const PER_SECOND: f64 = 500.0;
    const BURST: f64 = 100.0;
    machine::exclusive();
    let gateway = Gateway::start().await;
    let config = json!({ "per_second": PER_SECOND as u32, "burst": BURST as u32 });
    gateway.change_pipeline(json!({ "rate-shaper": { "policy": "token-bucket", "config": config } })).await;
    let campaign = Campaign::of(10_000, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let begun = Instant::now();
    let request = |user| {
        let crowd = crowd.clone();
        async move { (crowd.request(user).await.is_accepted(), begun.elapsed().as_secs_f64()) }
    };
    let answers = load::run_open(2_000.0, 1..=6_000, request).await;
    let allowed = BURST + PER_SECOND * begun.elapsed().as_secs_f64();
    let admitted = BURST + PER_SECOND * seconds_of_filling(answers, BURST / PER_SECOND);
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    println!("{:.0} accepted a second", load::per_second(report.accepted, begun));
    let accepted = report.accepted as f64;
    assert!(accepted <= allowed * 1.05, "{accepted} accepted, {allowed} allowed");
    assert!(accepted >= admitted * 0.9, "{accepted} accepted, at least {admitted} expected");
    assert_eq!(report.refused.keys().collect::<Vec<_>>(), [&(429, "RATE_LIMITED".to_owned())]);
}

/// For how long a bucket fills between its first refusal and its last one, by answers with their times. It is empty at
/// each of them, and full after `fills_in`: what it does not get while a slow machine sends nothing, it cannot admit.
fn seconds_of_filling(answers: Vec<(bool, f64)>, fills_in: f64) -> f64 {
    let mut refused_at: Vec<f64> = answers.into_iter().filter(|(accepted, _)| !accepted).map(|(_, at)| at).collect();
    refused_at.sort_by(f64::total_cmp);
    refused_at.windows(2).map(|pair| (pair[1] - pair[0]).min(fills_in)).sum()
}
