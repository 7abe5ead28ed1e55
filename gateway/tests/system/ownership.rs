//! One process settles a partition, and there always is one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice::coupon::PartitionNo;
use sluice::ledger::{Claim, Ledger};

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::faulty_log::{FaultyLog, LogFaults};
use crate::harness::{Files, Fixture, eventually, replace_ledger};

const PARTITION: PartitionNo = PartitionNo(0);

/// A system with one partition, and the ledger that it shares with the test, which plays another process.
async fn start(faults: &Arc<LedgerFaults>, log_faults: &Arc<LogFaults>) -> (Fixture, Arc<dyn Ledger>) {
    let mut ledger: Option<Arc<dyn Ledger>> = None;
    let replace = |ports| {
        let ports = replace_ledger(ports, |inner| {
            ledger = Some(Arc::clone(&inner));
            FaultyLedger::wrap(inner, faults)
        });
        FaultyLog::replace(ports, log_faults)
    };
    let system = Fixture::with(Files::new(), |config| config.log.partitions = 1, replace).await;
    (system, ledger.expect("kept"))
}

async fn epoch(ledger: &dyn Ledger) -> i64 {
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    transaction.lock_offset(PARTITION).await.expect("locks").epoch
}

/// Settles one record, as another process does.
async fn settle_one(ledger: &dyn Ledger, claim: &mut Claim) {
    let to = Claim { next_offset: claim.next_offset + 1, ..*claim };
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    transaction.advance(*claim, to).await.expect("the claim holds");
    transaction.commit().await.expect("commits");
    *claim = to;
}

async fn owns(system: &Fixture) -> Option<bool> {
    let metrics = system.metrics().await;
    let series = metrics.lines().find(|line| line.starts_with("sluice_settlement_partition_owned{partition=\"0\"}"))?;
    Some(series.ends_with(" 1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_another_process_claimed_and_left_is_claimed_again() {
    let (system, ledger) = start(&Arc::default(), &Arc::default()).await;
    system.outcome(&system.accepted(1).await).await;
    let claim = ledger.claim(PARTITION).await.expect("claims");
    let mut status_urls = Vec::new();
    for user in 2..=21 {
        status_urls.push(system.accepted(user).await);
    }
    for status_url in &status_urls {
        assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
    }
    assert_eq!(epoch(&*ledger).await, claim.epoch + 1);
    assert_eq!((system.audit(104).await["granted"].clone(), owns(&system).await), (21.into(), Some(true)));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_another_process_settles_is_left_to_it_until_it_stops() {
    let (system, ledger) = start(&Arc::default(), &Arc::default()).await;
    system.outcome(&system.accepted(1).await).await;
    let mut claim = ledger.claim(PARTITION).await.expect("claims");
    let mut last = String::new();
    for user in 2..=30 {
        last = system.accepted(user).await;
    }
    // Longer than the first two waits.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        settle_one(&*ledger, &mut claim).await;
    }
    assert_eq!((epoch(&*ledger).await, owns(&system).await), (claim.epoch, Some(false)), "it is not fenced");
    assert_eq!(system.outcome(&last).await["status"], "ISSUED");
    assert_eq!(epoch(&*ledger).await, claim.epoch + 1);
    assert_eq!(owns(&system).await, Some(true));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_revoked_while_the_ledger_is_down_is_not_claimed_afterwards() {
    let (faults, log_faults) = (Arc::<LedgerFaults>::default(), Arc::<LogFaults>::default());
    faults.claims_fail.store(true, Ordering::Relaxed);
    let (system, ledger) = start(&faults, &log_faults).await;
    assert_eq!(owns(&system).await, Some(false));
    system.accepted(1).await;
    log_faults.revoked.cancel();
    faults.claims_fail.store(false, Ordering::Relaxed);
    let claim = ledger.claim(PARTITION).await.expect("the new owner claims");
    // Longer than a claim is retried at the latest.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(epoch(&*ledger).await, claim.epoch);
    system.stop_without_settling().await.expect("stops in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_loses_its_partition_says_so() {
    let log_faults = Arc::<LogFaults>::default();
    let (system, _) = start(&Arc::default(), &log_faults).await;
    eventually("the partition is claimed", async || owns(&system).await.filter(|owns| *owns)).await;
    log_faults.revoked.cancel();
    eventually("the partition is given up", async || owns(&system).await.filter(|owns| !*owns)).await;
    system.stop_without_settling().await.expect("stops in good order");
}
