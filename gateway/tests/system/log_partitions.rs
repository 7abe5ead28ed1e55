//! Partitions of the log that fail, and end offsets that this gateway does not know yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use sluice::config::Role;

use crate::faulty_log::{FaultyLog, LogFaults};
use crate::harness::{Files, Fixture, PATIENCE, eventually};

/// The partitions of coupon 104's four shards.
const PARTITIONS: [u32; 4] = [10, 11, 0, 1];

/// A record on a partition that accepts none is never acknowledged.
async fn in_time<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
}

async fn start(faults: &Arc<LogFaults>) -> Fixture {
    Fixture::with(Files::new(), |_| {}, |ports| FaultyLog::replace(ports, faults)).await
}

/// A gateway that has accepted a request, and the status URL. Nothing settles.
async fn pending(faults: &Arc<LogFaults>) -> (Fixture, String) {
    let configure = |config: &mut sluice::config::Config| config.role = Role::Gateway;
    let system = Fixture::with(Files::new(), configure, |ports| FaultyLog::replace(ports, faults)).await;
    let status_url = system.accepted(1).await;
    (system, status_url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_another_gateway_just_accepted_is_pending() {
    let faults = Arc::new(LogFaults::default());
    let (system, status_url) = pending(&faults).await;
    faults.ends_are_stale.store(true, Ordering::Relaxed);
    let answer = system.call(Method::GET, &status_url, None).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &"PENDING".into()), "{}", answer.body);
    assert_eq!(answer.body["position"], 1);

    let beyond = status_url.replace("offset=0", "offset=1");
    let answer = system.call(Method::GET, &beyond, None).await;
    assert_eq!((answer.status, &answer.body["reason"]), (StatusCode::NOT_FOUND, &"REQUEST_NOT_FOUND".into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_pending_while_the_end_of_its_partition_is_unknown() {
    let faults = Arc::new(LogFaults::default());
    let (system, status_url) = pending(&faults).await;
    faults.ends_are_stale.store(true, Ordering::Relaxed);
    faults.ends_are_unknown.store(true, Ordering::Relaxed);
    let answer = system.call(Method::GET, &status_url, None).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &"PENDING".into()), "{}", answer.body);
    assert_eq!(answer.body["position"], Value::Null);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_on_a_partition_that_accepts_no_records_are_not_picked() {
    let faults = Arc::new(LogFaults::default());
    let system = start(&faults).await;
    faults.refuse([11, 0]);
    for user in 1..=40 {
        let outcome = system.outcome(&in_time(system.accepted(user)).await).await;
        assert_eq!(outcome["status"], "ISSUED", "{outcome}");
        assert!([0, 3].map(Value::from).contains(&outcome["shardNo"]), "{outcome}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_without_a_partition_that_accepts_records_answers_log_unavailable() {
    let faults = Arc::new(LogFaults::default());
    let system = start(&faults).await;
    faults.refuse(PARTITIONS);
    let refused = in_time(system.issue(1)).await;
    assert_eq!((refused.status, &refused.body["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &"LOG_UNAVAILABLE".into()));
    assert!(refused.headers.contains_key("retry-after"));

    faults.refusing.lock().expect("not poisoned").clear();
    assert_eq!(system.outcome(&system.accepted(1).await).await["status"], "ISSUED", "the refusal left no count behind");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_while_any_partition_accepts_records() {
    let faults = Arc::new(LogFaults::default());
    let system = start(&faults).await;
    faults.refuse([3, 7]);
    let ready = system.ready().await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.body);
    assert_eq!(ready.body["log"], "partitions that accept no records: 3, 7 (no leader)");
    eventually("the metric names the partition", async || {
        let metrics = system.metrics().await;
        (metrics.contains("sluice_log_accepts{partition=\"3\"} 0")
            && metrics.contains("sluice_log_accepts{partition=\"4\"} 1"))
        .then_some(())
    })
    .await;

    faults.refuse(0..12);
    let ready = system.ready().await;
    assert_eq!((ready.status, &ready.body["log"]), (StatusCode::SERVICE_UNAVAILABLE, &"no leader".into()));
    system.stop().await;
}
