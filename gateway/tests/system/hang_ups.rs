//! Clients that disconnect: what they asked for goes on without them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use sluice::log::AppendError;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, PATIENCE, eventually, payload, replace_ledger};
use crate::stuck_log::StuckLog;

/// By then the listener has noticed that a client is gone.
const NOTICED: Duration = Duration::from_millis(300);

async fn on(log: &Arc<StuckLog>) -> Fixture {
    Fixture::with(Files::new(), |_| {}, |ports| log.replace(ports)).await
}

/// Sends a request under a key, and hangs up when its record is enqueued.
async fn hang_up_after_enqueueing(system: &Fixture, log: &StuckLog, user: u64) {
    let body = payload(user).to_string();
    let head = format!(
        "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let before = log.waiting();
    let mut client = TcpStream::connect(system.running.http.expect("a gateway")).await.expect("connects");
    client.write_all((head + &body).as_bytes()).await.expect("sends");
    eventually("the record is enqueued", async || (log.waiting() > before).then_some(())).await;
    drop(client);
    tokio::time::sleep(NOTICED).await;
}

async fn assert_user_limit(system: &Fixture, user: u64) {
    let second = tokio::time::timeout(PATIENCE, system.issue(user)).await.expect("refused at once");
    assert_eq!(second.body["reason"], "USER_LIMIT", "{}", second.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_stays_counted_and_is_found_by_a_retry_when_its_client_hangs_up() {
    let log = StuckLog::new();
    let system = on(&log).await;
    hang_up_after_enqueueing(&system, &log, 1).await;
    assert_user_limit(&system, 1).await;
    let in_flight = async |number: u32| {
        let line = format!("sluice_issue_in_flight {number}");
        let is_seen = async || system.metrics().await.lines().any(|of_all| of_all == line).then_some(());
        eventually(&line, is_seen).await;
    };
    in_flight(1).await;
    log.acknowledge();
    // Then the gateway knows that the record is durable.
    in_flight(0).await;
    let retry = async || {
        let answer = tokio::time::timeout(Duration::from_secs(5), system.issue_under("k", payload(1))).await;
        (answer.ok()?.status == StatusCode::ACCEPTED).then_some(())
    };
    eventually("a retry finds the request", retry).await;
    assert_eq!(log.waiting(), 0, "the retry appended nothing");
    assert_user_limit(&system, 1).await;
    system.stop_without_settling().await.expect("stops in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_hung_up_holds_its_place_in_flight_until_its_record_is_durable() {
    let log = StuckLog::new();
    let replace = |ports| log.replace(ports);
    let system = Fixture::with(Files::new(), |config| config.http.in_flight_max = 1, replace).await;
    hang_up_after_enqueueing(&system, &log, 1).await;
    let second = tokio::time::timeout(PATIENCE, system.issue(2)).await.expect("refused at once");
    assert_eq!(second.body["reason"], "OVERLOADED");
    log.acknowledge();
    let free = async || {
        let answer = tokio::time::timeout(Duration::from_secs(5), system.issue_under("k", payload(1))).await;
        (answer.ok()?.status == StatusCode::ACCEPTED).then_some(())
    };
    eventually("the place is free again", free).await;
    system.stop_without_settling().await.expect("stops in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_certainly_not_in_the_log_is_no_longer_counted() {
    let log = StuckLog::new();
    let system = on(&log).await;
    log.is_full.store(true, Ordering::Relaxed);
    assert_eq!(system.issue(1).await.body["reason"], "OVERLOADED");
    log.is_full.store(false, Ordering::Relaxed);
    let answered = async |answer: &dyn Fn()| {
        tokio::join!(system.issue(1), async {
            eventually("it is enqueued", async || (log.waiting() == 1).then_some(())).await;
            answer();
        })
        .0
    };
    let failed = answered(&|| log.fail(&AppendError::NotWritten("the disk is full".into()))).await;
    assert_eq!(failed.body["reason"], "LOG_UNAVAILABLE");
    assert_eq!(answered(&|| log.acknowledge()).await.status, StatusCode::ACCEPTED);
    system.stop_without_settling().await.expect("stops in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_be_in_the_log_stays_counted() {
    let log = StuckLog::new();
    let system = on(&log).await;
    let (answer, ()) = tokio::join!(system.issue(1), async {
        eventually("it is enqueued", async || (log.waiting() == 1).then_some(())).await;
        log.fail(&AppendError::Failed("no acknowledgement".into()));
    });
    assert_eq!(answer.body["reason"], "LOG_UNAVAILABLE", "{}", answer.body);
    assert_user_limit(&system, 1).await;
    system.stop_without_settling().await.expect("stops in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_hung_up_before_a_shutdown_stays_counted() {
    let log = StuckLog::new();
    let mut counters = None;
    let replace = |ports: sluice::app::Ports| {
        counters = Some(Arc::clone(&ports.counters));
        log.replace(ports)
    };
    let system = Fixture::with(Files::new(), |_| {}, replace).await;
    hang_up_after_enqueueing(&system, &log, 1).await;
    system.stop_without_settling().await.expect("stops in good order");
    assert_eq!(log.waiting(), 0, "closing the log acknowledged the record");

    use sluice::counters::{Hook, Measure, Measured, Scope, Subject};
    let another = Subject {
        request_id: sluice::coupon::RequestId::new(),
        attempt: 0,
        coupon_id: 104_u64.try_into().expect("in range"),
        user_id: 1_u64.try_into().expect("in range"),
        arrived_at_ms: sluice::coupon::now_ms(),
        fingerprint: None,
        campaign_counts: sluice::coupon::CampaignCounts::default(),
    };
    let campaign = [Measure::Count { scope: Scope::UserOfCoupon, window_ms: 0 }];
    let reserved = counters.expect("kept").reserve(Hook::UserLimit, &campaign, &another).await;
    assert_eq!(reserved.expect("local counters answer").measured[..], [Measured::Count(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_campaign_applies_although_its_operator_hung_up() {
    let faults = Arc::new(LedgerFaults::default());
    let replace = |ports| replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
    let system = Fixture::with(Files::new(), |_| {}, replace).await;
    let held = faults.hold_answers();
    let mut operator = TcpStream::connect(system.running.admin).await.expect("connects");
    let close = b"POST /admin/coupons/104/close HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    operator.write_all(close).await.expect("sends");
    eventually("the change is committed", async || faults.has_held_answer().then_some(())).await;
    drop(operator);
    tokio::time::sleep(NOTICED).await;
    drop(held);
    eventually("the change applies", async || (system.issue(1).await.body["reason"] == "CLOSED").then_some(())).await;
    let shown = system.operate(Method::GET, "/admin/coupons/104", None).await;
    assert_eq!(shown.body["state"], "CLOSED");
    system.stop().await;
}
