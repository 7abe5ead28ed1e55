//! Records that can never settle are copied for an operator, and delay no others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluice::config::{Config, Role};
use sluice::coupon::PartitionNo;
use sluice::log::{Headers, Record};

use crate::faulty_log::{FaultyLog, LogFaults};
use crate::harness::{Files, Fixture};

const RECORDS: usize = 5;

/// A log of one partition with records that no gateway wrote.
async fn unreadable_records() -> Files {
    let mut log = None;
    let configure = |config: &mut Config| {
        config.role = Role::Gateway;
        config.log.partitions = 1;
    };
    let keep = |ports: sluice::app::Ports| {
        log = Some(Arc::clone(&ports.log));
        ports
    };
    let system = Fixture::with(Files::new(), configure, keep).await;
    let log = log.expect("kept");
    for _ in 0..RECORDS {
        let record = Record { key: String::new(), headers: Headers::default(), value: b"[1]".to_vec() };
        log.append(PartitionNo(0), record).expect("has room").await.expect("is durable");
    }
    drop(log);
    system.stop().await
}

async fn start(files: Files, batch_records_max: u32, faults: &Arc<LogFaults>) -> Fixture {
    let configure = |config: &mut Config| {
        config.log.partitions = 1;
        config.settlement.batch_records_max = batch_records_max;
    };
    Fixture::with(files, configure, |ports| FaultyLog::replace(ports, faults)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letters_of_a_batch_are_kept_in_one_call() {
    let faults = Arc::<LogFaults>::default();
    let system = start(unreadable_records().await, 1024, &faults).await;
    assert_eq!(system.outcome(&system.accepted(1).await).await["status"], "ISSUED");
    assert_eq!(*faults.dead_letters.lock().expect("not poisoned"), [RECORDS]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_cannot_be_kept_are_attempted_once_a_minute() {
    let faults = Arc::<LogFaults>::default();
    faults.dead_letters_fail.store(true, Ordering::Relaxed);
    let system = start(unreadable_records().await, 1, &faults).await;
    assert_eq!(system.outcome(&system.accepted(1).await).await["status"], "ISSUED");
    assert_eq!(*faults.dead_letters.lock().expect("not poisoned"), [1]);
    system.stop().await;
}
