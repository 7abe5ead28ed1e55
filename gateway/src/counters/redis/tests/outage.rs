//! Redis is down, slow, or full.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::shared::query;
use super::test_server::{TestServer, at, eventually, free_port, open_when_started};
use super::*;
use crate::counters::fail_open::FailOpen;

/// Tolerance beyond a call's own timeout, on a machine that runs other tests.
const TOLERANCE: Duration = Duration::from_millis(200);

async fn is_up(counters: &Redis) -> bool {
    counters.ready().is_ok()
}

async fn is_down(counters: &Redis) -> bool {
    counters.ready().is_err()
}

#[tokio::test]
async fn while_redis_is_down_calls_fail_at_once_until_it_starts() {
    let port = free_port();
    let error = open(at(port)).await.err().expect("unreachable").to_string();
    assert!(error.contains("on_unavailable = \"pass\""), "{error}");

    let counters = open_or_retry(at(port)).await.expect("opens without a connection");
    let begun = Instant::now();
    for _ in 0..1_000 {
        try_reserve(&counters, &[CAMPAIGN], new_subject()).await.expect_err("unavailable");
    }
    assert!(begun.elapsed() < TOLERANCE, "{:?}", begun.elapsed());
    assert!(counters.ready().expect_err("unavailable").contains("refused"), "{:?}", counters.ready());

    let server = TestServer::start(port, &[]);
    eventually("the first connection", || is_up(&counters)).await;
    assert_eq!(reserve(&counters, CAMPAIGN, new_subject()).await, Measured::Count(1));

    drop(server);
    eventually("a probe notices that Redis stopped", || is_down(&counters)).await;
    let _server = TestServer::start(port, &[]);
    eventually("the connection is restored", || is_up(&counters)).await;
    assert_eq!(reserve(&counters, CAMPAIGN, new_subject()).await, Measured::Count(1));
}

#[tokio::test]
async fn a_hung_redis_delays_only_the_first_few_calls() {
    let (server, counters) = TestServer::with_counters().await;
    let counters = Redis { call_max: CALL_MAX, ..counters };
    server.signal(Signal::STOP);
    let begun = Instant::now();
    for _ in 0..100 {
        try_reserve(&counters, &[CAMPAIGN], new_subject()).await.expect_err("no answer");
    }
    let waited = begun.elapsed();
    assert!(waited >= CALL_MAX && waited < 3 * CALL_MAX + TOLERANCE, "{waited:?}");
    assert!(is_down(&counters).await);

    server.signal(Signal::CONT);
    eventually("the connection is restored", || is_up(&counters)).await;
}

#[tokio::test]
async fn a_reservation_answered_too_late_or_abandoned_is_released() {
    let (server, counters) = TestServer::with_counters().await;
    let counters = Redis { call_max: CALL_MAX, ..counters };
    let first = new_subject();
    server.signal(Signal::STOP);
    try_reserve(&counters, &[CAMPAIGN], another_request(first)).await.expect_err("no answer");
    let abandoned = try_reserve(&counters, &[CAMPAIGN], another_request(first));
    tokio::time::timeout(Duration::from_millis(5), abandoned).await.expect_err("no answer");
    server.signal(Signal::CONT);

    eventually("both reservations are released", || async {
        let Ok(reserved) = try_reserve(&counters, &[CAMPAIGN], first).await else { return false };
        reserved.measured[0] == Measured::Count(1)
    })
    .await;
}

#[tokio::test]
async fn an_attempt_answered_too_late_leaves_another_attempt_counted() {
    let port = free_port();
    let server = TestServer::start(port, &[]);
    let hasty = open_when_started(|| at(port)).await;
    let patient = Redis { call_max: PATIENT, ..open_when_started(|| at(port)).await };
    let keyed = Subject { fingerprint: Some(Fingerprint(1)), ..new_subject() };
    let key = hasty.nodes.server.keys.idempotency_key(Fingerprint(1));
    server.signal(Signal::STOP);
    try_reserve(&hasty, &[CAMPAIGN], keyed).await.expect_err("no answer");
    let (accepted, ()) = tokio::join!(try_reserve(&patient, &[CAMPAIGN], another_attempt(keyed)), async {
        tokio::time::sleep(TOLERANCE).await;
        server.signal(Signal::CONT);
    });
    assert_eq!(accepted.expect("answered").measured[0], Measured::Count(1));

    eventually("the late attempt is released", || async {
        let value: Vec<u8> = query(&patient, &format!("GET {key}")).await;
        let holders = value[16..].split(|byte| *byte == b' ').next();
        holders == Some(b",00000001u")
    })
    .await;
    let another = Subject { fingerprint: None, ..another_request(keyed) };
    assert_eq!(reserve(&patient, CAMPAIGN, another).await, Measured::Count(2));
    assert!(try_reserve(&patient, &[], another_request(keyed)).await.expect("counters available").is_key_taken);
}

#[tokio::test]
async fn failed_releases_are_retried_when_redis_returns() {
    let port = free_port();
    let server = TestServer::start(port, &[]);
    let counters = open_when_started(|| at(port)).await;
    let (refused, rejected) = (new_subject(), new_subject());
    for subject in [refused, rejected] {
        reserve(&counters, CAMPAIGN, subject).await;
    }
    server.signal(Signal::STOP);
    eventually("the outage is detected", || async {
        try_reserve(&counters, &[CAMPAIGN], new_subject()).await.is_err() && is_down(&counters).await
    })
    .await;
    release(&counters, &[CAMPAIGN], refused, 1).await.expect("queued");
    counters.forget(&[rejected]).await.expect_err("settlement retries it");
    server.signal(Signal::CONT);
    let again = another_request(refused);
    eventually("the queued release is flushed", || async {
        let reserved = try_reserve(&counters, &[CAMPAIGN], again).await;
        reserved.is_ok_and(|reserved| reserved.measured[0] == Measured::Count(1))
    })
    .await;
    counters.forget(&[rejected]).await.expect("counters available");
    assert_eq!(reserve(&counters, CAMPAIGN, another_request(rejected)).await, Measured::Count(1));
}

#[tokio::test]
async fn a_redis_that_rejects_writes_counts_as_unavailable() {
    let port = free_port();
    let _server = TestServer::start(port, &["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"]);
    eventually("opening fails because Redis is full", || async {
        let error = open(at(port)).await.err().map(|error| error.to_string()).unwrap_or_default();
        error.contains("OOM")
    })
    .await;
}

#[tokio::test]
async fn redis_outage_in_pass_mode_treats_every_request_as_first() {
    let counters = FailOpen::new(open_or_retry(at(free_port())).await.expect("opens without a connection"));
    let measures = [CAMPAIGN, bucket(1, 1_000, 1), Measure::Sequence { scope: Scope::Coupon }];
    for number in 0..3 {
        let keyed = Subject { fingerprint: Some(Fingerprint(1)), ..new_subject() };
        let reserved = counters.reserve(HOOK, &measures, &keyed).await.expect("fails open");
        let first = [Measured::Count(1), Measured::Conforming, Measured::Sequence(number)];
        assert_eq!((&reserved.measured[..], reserved.added), (&first[..], 0));
    }
    assert!(counters.ready().is_err() && counters.is_optional());
}
