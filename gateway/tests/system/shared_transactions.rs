//! On a ledger with one writer, the partitions that wait for their turn settle in one transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sluice::config::Config;
use sluice::coupon::PartitionNo;
use sluice::ledger::Ledger;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::faulty_log::{FaultyLog, LogFaults};
use crate::harness::{Files, Fixture, eventually, payload_for, replace_ledger};

const COUPON: u64 = 7;
const PARTITIONS: u64 = 12;

struct Setup {
    /// Coupons, in as many shards as there are partitions.
    total: u64,
    batch_records_max: u32,
    /// Whether the ledger has several writers.
    is_shared: bool,
}

const SETUP: Setup = Setup { total: 120, batch_records_max: 1024, is_shared: false };

/// A system with one request in each partition. The first one's transaction is held at its beginning, the others wait.
struct Held {
    system: Fixture,
    /// What another process uses.
    ledger: Arc<dyn Ledger>,
    faults: Arc<LedgerFaults>,
    log_faults: Arc<LogFaults>,
    /// Those of the users 1, 2, 3, …
    status_urls: Vec<String>,
}

impl Held {
    async fn new(setup: Setup) -> Self {
        let (faults, log_faults) = (Arc::<LedgerFaults>::default(), Arc::<LogFaults>::default());
        faults.is_shared.store(setup.is_shared, Ordering::Relaxed);
        let mut ledger: Option<Arc<dyn Ledger>> = None;
        let replace = |ports| {
            let ports = replace_ledger(ports, |inner| {
                ledger = Some(Arc::clone(&inner));
                FaultyLedger::wrap(inner, &faults)
            });
            FaultyLog::replace(ports, &log_faults)
        };
        let configure = |config: &mut Config| config.settlement.batch_records_max = setup.batch_records_max;
        let system = Fixture::with(Files::new(), configure, replace).await;
        let campaign = json!({ "couponId": COUPON, "policyId": 21, "total": setup.total, "shards": PARTITIONS });
        assert_eq!(system.operate(Method::POST, "/admin/coupons", Some(campaign)).await.status, StatusCode::CREATED);
        assert_eq!(system.pick_with("round-robin").await.status, StatusCode::OK);
        faults.settlements_are_held.store(true, Ordering::Relaxed);
        let mut held = Self { system, ledger: ledger.expect("kept"), faults, log_faults, status_urls: Vec::new() };
        held.accept(1).await;
        eventually("the first transaction begins", async || (held.settlements() == 1).then_some(())).await;
        for user in 2..=PARTITIONS {
            held.accept(user).await;
        }
        let read = || held.log_faults.records_read.load(Ordering::Relaxed) == PARTITIONS;
        eventually("all partitions have read their record", async || read().then_some(())).await;
        held
    }

    async fn accept(&mut self, user: u64) {
        let accepted = self.system.call(Method::POST, "/coupon/issue", Some(payload_for(COUPON, user))).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
        self.status_urls.push(accepted.body["statusUrl"].as_str().expect("a status URL").to_owned());
    }

    fn settlements(&self) -> u32 {
        self.faults.settlements.load(Ordering::Relaxed)
    }

    fn release(&self) {
        self.faults.settlements_are_held.store(false, Ordering::Relaxed);
    }

    async fn assert_issued(&self, users: impl IntoIterator<Item = usize>) {
        for user in users {
            let outcome = self.system.outcome(&self.status_urls[user - 1]).await;
            assert_eq!(outcome["status"], "ISSUED", "user {user}: {outcome}");
        }
    }

    async fn stop(self, granted: u64) {
        let audit = self.system.audit(COUPON).await;
        assert_eq!((&audit["granted"], &audit["balanced"]), (&granted.into(), &true.into()), "{audit}");
        self.system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_wait_for_the_writer_share_the_next_transaction() {
    let held = Held::new(SETUP).await;
    assert_eq!(held.settlements(), 1, "the others wait");
    held.release();
    held.assert_issued(1..=12).await;
    assert_eq!(held.settlements(), 2);
    let metrics = held.system.metrics().await;
    for sample in ["records_sum 12", "records_count 2"] {
        assert!(metrics.contains(&format!("sluice_settlement_batch_{sample}")), "{sample}");
    }
    held.stop(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_transaction_has_no_more_records_than_a_batch() {
    let held = Held::new(Setup { batch_records_max: 4, ..SETUP }).await;
    held.release();
    held.assert_issued(1..=12).await;
    assert_eq!(held.settlements(), 1 + 3, "11 records, at most 4 at a time");
    held.stop(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_partition_fences_no_other_in_its_transaction() {
    let held = Held::new(SETUP).await;
    let fenced = partition_of(&held.status_urls[1]);
    let claim = held.ledger.claim(fenced).await.expect("another process claims");
    held.release();
    held.assert_issued([1].into_iter().chain(3..=12)).await;
    assert_eq!(held.settlements(), 2);
    assert_eq!(held.ledger.next_offset(fenced).await.expect("reads"), claim.next_offset);
    // Claimed again, because nobody settles it.
    held.assert_issued([2]).await;
    held.stop(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_be_stored_fails_no_other_partition() {
    let held = Held::new(SETUP).await;
    held.faults.poison_user.store(2, Ordering::Relaxed);
    held.release();
    held.assert_issued([1].into_iter().chain(3..=12)).await;
    let outcome = held.system.outcome(&held.status_urls[1]).await;
    assert_eq!((&outcome["status"], &outcome["reason"]), (&"REJECTED".into(), &"INVALID".into()));
    assert_eq!(*held.log_faults.dead_letters.lock().expect("not poisoned"), [1]);
    assert_eq!(held.settlements(), 1 + 1 + 11 + 1, "the first, all others, each of them alone, the rejection");
    assert!(held.system.metrics().await.contains("sluice_settlement_retries_total 0"));
    held.stop(11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_transaction_whose_commit_fails_is_settled_again_once() {
    let held = Held::new(SETUP).await;
    held.faults.commits_fail.store(2, Ordering::Relaxed);
    held.release();
    held.assert_issued(1..=12).await;
    assert!(held.system.metrics().await.contains("sluice_settlement_retries_total 2"));
    held.stop(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_transaction_whose_answer_is_lost_is_not_settled_again() {
    let held = Held::new(SETUP).await;
    held.faults.commit_answers_lost.store(2, Ordering::Relaxed);
    held.release();
    held.assert_issued(1..=12).await;
    held.stop(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_for_whom_no_coupon_is_left_in_a_shared_transaction_may_try_again() {
    let held = Held::new(Setup { total: 3, ..SETUP }).await;
    held.release();
    held.assert_issued(1..=3).await;
    for status_url in &held.status_urls[3..] {
        assert_eq!(held.system.outcome(status_url).await["reason"], "SOLD_OUT");
    }
    assert!(held.settlements() < 12, "not one for each partition");
    let top_up = format!("/admin/coupons/{COUPON}/top-up");
    let topped_up = held.system.operate(Method::POST, &top_up, Some(json!({ "amount": 9 }))).await;
    assert_eq!(topped_up.status, StatusCode::OK, "{}", topped_up.body);
    for user in 4..=PARTITIONS {
        eventually("the user may try again", async || {
            let answer = held.system.call(Method::POST, "/coupon/issue", Some(payload_for(COUPON, user))).await;
            (answer.status == StatusCode::ACCEPTED).then_some(())
        })
        .await;
    }
    eventually("all coupons are issued", async || {
        (held.system.audit(COUPON).await["granted"] == PARTITIONS).then_some(())
    })
    .await;
    held.stop(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_shared_ledger_settle_at_the_same_time() {
    let held = Held::new(Setup { is_shared: true, ..SETUP }).await;
    eventually("each has begun a transaction", async || (held.settlements() == 12).then_some(())).await;
    held.release();
    held.assert_issued(1..=12).await;
    assert_eq!(held.settlements(), 12);
    held.stop(12).await;
}

fn partition_of(status_url: &str) -> PartitionNo {
    let partition = status_url.split(['?', '&']).find_map(|part| part.strip_prefix("partition="));
    PartitionNo(partition.and_then(|number| number.parse().ok()).expect("a partition"))
}
