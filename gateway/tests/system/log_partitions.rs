//! Partitions of the log that fail.

use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::Value;

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
