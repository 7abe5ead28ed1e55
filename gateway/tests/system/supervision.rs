//! A background task that fails takes the whole system down in good order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::StatusCode;
use sluice::app::Ports;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, PATIENCE, eventually, replace_ledger};
use crate::stuck_log::StuckLog;

/// Waits for the failure, which readiness reports from then on, and stops the system. Answers with the failure.
async fn fails(system: &mut Fixture) -> String {
    let failure = tokio::time::timeout(PATIENCE, system.running.wait()).await.expect("a task fails");
    let ready = system.ready().await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{}", ready.body);
    let expected = format!("background task `{}` failed", failure.task);
    assert_eq!(ready.body["tasks"], expected, "{}", ready.body);
    failure.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_task_that_panics_fails_readiness_and_its_record_settles_after_a_restart() {
    let faults = Arc::new(LedgerFaults::default());
    faults.settlement_panics.store(true, Ordering::Relaxed);
    let replace = |ports| replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
    let mut system = Fixture::with(Files::new(), |_| {}, replace).await;
    assert_eq!(system.ready().await.status, StatusCode::OK);
    let status_url = system.accepted(1).await;
    let failure = fails(&mut system).await;
    assert!(failure.starts_with("task `settlement of partition "), "{failure}");
    assert!(failure.ends_with("panicked: the ledger is cursed"), "{failure}");
    let Fixture { running, files, .. } = system;
    assert_eq!(running.stop().await.expect_err("a task failed").to_string(), failure);

    let system = Fixture::with(files, |_| {}, |ports| ports).await;
    assert_eq!(system.outcome(&status_url).await["status"], "ISSUED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampler_that_panics_fails_readiness() {
    let log = StuckLog::new();
    let replace = |ports| log.replace(ports);
    let mut system = Fixture::with(Files::new(), |_| {}, replace).await;
    log.end_offset_panics.store(true, Ordering::Relaxed);
    assert_eq!(fails(&mut system).await, "task `sampler` panicked: the log is cursed");
    log.end_offset_panics.store(false, Ordering::Relaxed);
    system.stop_without_settling().await.expect_err("a task failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_poller_that_panics_fails_readiness() {
    let faults = Arc::new(LedgerFaults::default());
    faults.is_shared.store(true, Ordering::Relaxed);
    let replace = |ports| replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
    let mut system = Fixture::with(Files::new(), |_| {}, replace).await;
    faults.next_offsets_panic.store(true, Ordering::Relaxed);
    assert_eq!(fails(&mut system).await, "task `ledger poller` panicked: the ledger is cursed");
    system.stop_without_settling().await.expect_err("a task failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stops_assigning_partitions_fails_readiness() {
    let log = StuckLog::new();
    let replace = |ports| log.replace(ports);
    let mut system = Fixture::with(Files::new(), |_| {}, replace).await;
    eventually("settlement waits for partitions", async || (log.stop_assigning() > 0).then_some(())).await;
    assert_eq!(fails(&mut system).await, "task `partition assignment` ended before shutdown");
    system.stop_without_settling().await.expect_err("a task failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_task_ends_fails_readiness() {
    let end = |mut ports: Ports| {
        let writer = ports.background.first_mut().expect("the embedded log has a writer");
        assert_eq!(writer.name, "log writer");
        writer.run = Box::pin(std::future::ready(Ok(())));
        ports
    };
    let mut system = Fixture::with(Files::new(), |_| {}, end).await;
    assert_eq!(fails(&mut system).await, "task `log writer` ended before shutdown");
    system.stop_without_settling().await.expect_err("a task failed");
}
