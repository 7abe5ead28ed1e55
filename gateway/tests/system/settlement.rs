//! Settlement on a ledger that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluice::coupon::PartitionNo;
use sluice::ledger::{Claim, Ledger};

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, eventually, replace_ledger};

/// One request of each user, waiting in the only partition of the log for the next start.
async fn backlog(users: u64) -> (Files, Vec<String>) {
    let configure = |config: &mut sluice::config::Config| {
        config.role = sluice::config::Role::Gateway;
        config.log.partitions = 1;
    };
    let system = Fixture::with(Files::new(), configure, |ports| ports).await;
    let mut status_urls = Vec::new();
    for user in 1..=users {
        status_urls.push(system.accepted(user).await);
    }
    (system.stop().await, status_urls)
}

async fn start(files: Files, faults: &Arc<LedgerFaults>) -> Fixture {
    let replace = |ports| replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, faults));
    Fixture::with(files, |config| config.log.partitions = 1, replace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_be_stored_is_rejected_alone() {
    let (files, status_urls) = backlog(9).await;
    let faults = Arc::new(LedgerFaults::default());
    faults.poison_user.store(4, Ordering::Relaxed);
    let system = start(files, &faults).await;
    for (user, status_url) in (1..).zip(&status_urls) {
        let outcome = system.outcome(status_url).await;
        if user == 4 {
            assert_eq!((&outcome["status"], &outcome["reason"]), (&"REJECTED".into(), &"INVALID".into()));
        } else {
            assert_eq!(outcome["status"], "ISSUED", "user {user}");
        }
    }
    let audit = system.audit(104).await;
    assert_eq!((&audit["granted"], &audit["balanced"]), (&8.into(), &true.into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_commit_fails_is_settled_again_once() {
    let (files, status_urls) = backlog(5).await;
    let faults = Arc::new(LedgerFaults::default());
    faults.commits_fail.store(3, Ordering::Relaxed);
    let system = start(files, &faults).await;
    for status_url in &status_urls {
        assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
    }
    let audit = system.audit(104).await;
    assert_eq!((&audit["granted"], &audit["remaining"], &audit["balanced"]), (&5.into(), &9995.into(), &true.into()));
    assert!(system.metrics().await.contains("sluice_settlement_retries_total 3"));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_claimed_by_another_process_is_settled_by_that_one_alone() {
    let mut ledger: Option<Arc<dyn Ledger>> = None;
    let keep = |ports| {
        replace_ledger(ports, |inner| {
            ledger = Some(Arc::clone(&inner));
            inner
        })
    };
    let system = Fixture::with(Files::new(), |config| config.log.partitions = 1, keep).await;
    system.outcome(&system.accepted(1).await).await;
    let ledger = ledger.expect("kept");
    let claim = ledger.claim(PartitionNo(0)).await.expect("claims");
    assert_eq!(claim.next_offset, 1);

    let status_url = system.accepted(2).await;
    let mut transaction = ledger.begin().await.expect("begins");
    assert_eq!(transaction.lock_offset(PartitionNo(0)).await.expect("locks").epoch, claim.epoch);
    transaction.advance(claim, Claim { next_offset: 1, ..claim }).await.expect("the claim holds");
    drop(transaction);
    eventually("the fenced task reads the record", async || {
        let status = system.call(reqwest::Method::GET, &status_url, None).await;
        (status.body["status"] == "PENDING").then_some(())
    })
    .await;
    assert_eq!(ledger.next_offset(PartitionNo(0)).await.expect("reads"), 1, "the fenced task settled nothing");
    assert_eq!(system.audit(104).await["granted"], 1);
    system.stop_without_settling().await.expect("stops in good order");
}
