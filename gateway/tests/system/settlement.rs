//! Settlement on a ledger that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, payload_for, replace_ledger};

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
async fn a_batch_of_many_coupons_reads_the_ledger_as_often_as_a_batch_of_one() {
    let configure = |config: &mut sluice::config::Config| {
        config.role = sluice::config::Role::Gateway;
        config.log.partitions = 1;
    };
    let system = Fixture::with(Files::new(), configure, |ports| ports).await;
    let mut status_urls = Vec::new();
    for coupon in 1..=20 {
        let campaign = json!({ "couponId": coupon, "policyId": 21, "total": 10 });
        assert_eq!(system.operate(Method::POST, "/admin/coupons", Some(campaign)).await.status, StatusCode::CREATED);
        let accepted = system.call(Method::POST, "/coupon/issue", Some(payload_for(coupon, 1))).await;
        status_urls.push(accepted.body["statusUrl"].as_str().expect("a status URL").to_owned());
    }
    let faults = Arc::new(LedgerFaults::default());
    let system = start(system.stop().await, &faults).await;
    for status_url in &status_urls {
        assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
    }
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    assert_eq!(count(&faults.fact_reads), 2 * count(&faults.settlements));
    system.stop().await;
}
