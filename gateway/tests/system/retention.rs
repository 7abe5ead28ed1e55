//! What remains of a campaign that is closed: outcomes for a while, an answer to requests for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::config::{Config, Role};
use sluice::coupon::{
    Arm, CouponId, GroupLayout, GroupNo, NewCampaign, Offset, Outcome, PartitionNo, RequestId, Settled, SettledRequest,
    ShardNo,
};
use sluice::ledger::{self, Deletion, Ledger};
use sluice::log::Log;
use sluice::retention::Retention;
use sluice::settlement::Progress;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, eventually, payload};

/// One coupon that three users asked for.
const COUPON: u64 = 105;

fn coupon() -> CouponId {
    COUPON.try_into().expect("in range")
}

fn request(user: u64) -> Value {
    let mut body = payload(user);
    body["couponId"] = COUPON.into();
    body
}

/// The ports of a running system.
#[derive(Clone)]
struct Shared {
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
}

impl Shared {
    async fn start(files: Files, configure: impl FnOnce(&mut Config)) -> (Fixture, Self) {
        let mut shared = None;
        let keep = |ports: Ports| {
            shared = Some(Self { log: Arc::clone(&ports.log), ledger: Arc::clone(&ports.ledger) });
            ports
        };
        let system = Fixture::with(files, configure, keep).await;
        (system, shared.expect("the ports are open"))
    }

    fn retention(
        &self,
        settled: &BTreeMap<PartitionNo, Offset>,
        rejections: Option<u64>,
        outcomes: Option<u64>,
    ) -> Retention {
        let partitions = 0..self.log.partitions();
        let progress =
            Progress::new(partitions.map(|no| settled.get(&PartitionNo(no)).copied().unwrap_or(0)).collect());
        let hours = |hours: Option<u64>| hours.map(Duration::from_hours);
        let keep = ledger::Retention { outcomes: hours(outcomes), rejections: hours(rejections) };
        Retention {
            log: Arc::clone(&self.log),
            ledger: Arc::clone(&self.ledger),
            progress: Arc::new(progress),
            keep,
            layout: GroupLayout::new(1, self.log.partitions()),
            group: GroupNo::FIRST,
        }
    }

    async fn sweep(&self, rejections: Option<u64>, outcomes: Option<u64>) {
        let settled = self.ledger.next_offsets(GroupNo::FIRST).await.expect("reads");
        // Closing times are in milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let failed = self.retention(&settled, rejections, outcomes).sweep().await.expect("sweeps");
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// Stores a campaign that closed long ago, with one grant for each user.
async fn store_expired(ledger: &dyn Ledger, coupon_id: CouponId, users: u64) {
    let new = NewCampaign {
        coupon_id,
        policy_id: 21_u64.try_into().expect("in range"),
        total: 1,
        shards: 1,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: Some(1),
    };
    ledger.create_campaign(&new).await.expect("creates");
    let granted = |user: u64| SettledRequest {
        coupon_id,
        user_id: user.try_into().expect("in range"),
        picked_shard: ShardNo(0),
        generation: 1,
        arm: Arm::Active,
        fingerprint: None,
        arrived_at_ms: 1,
        terms: serde_json::from_value(json!({ "typeSnapshot": "FIXED" })).expect("terms"),
    };
    let settled = |user| Settled {
        request_id: RequestId::new(),
        subject: Some(granted(user)),
        outcome: Outcome::Issued { shard: ShardNo(0), grant_no: 1 },
        partition: PartitionNo(0),
        offset: 0,
        settled_at_ms: 1,
    };
    let mut transaction = ledger.begin(PartitionNo(0)).await.expect("begins");
    transaction.insert_outcomes(&(1..=users).map(settled).collect::<Vec<_>>()).await.expect("inserts");
    transaction.commit().await.expect("commits");
}

async fn outcomes(ledger: &dyn Ledger, coupon: CouponId) -> usize {
    ledger.outcomes(coupon, None, 9).await.expect("reads").len()
}

/// A closed campaign with three requests that are not settled yet.
async fn closed_with_backlog() -> (Files, Vec<String>) {
    let system = Fixture::with(Files::new(), |config| config.role = Role::Gateway, |ports| ports).await;
    let new = json!({ "couponId": COUPON, "policyId": 21, "total": 1, "shards": 1 });
    assert_eq!(system.operate(Method::POST, "/admin/coupons", Some(new)).await.status, StatusCode::CREATED);
    let mut status_urls = Vec::new();
    for user in 1..=3 {
        let answer = system.call(Method::POST, "/coupon/issue", Some(request(user))).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        status_urls.push(answer.body["statusUrl"].as_str().expect("a status URL").to_owned());
    }
    system.operate(Method::POST, &format!("/admin/coupons/{COUPON}/close"), None).await;
    (system.stop().await, status_urls)
}

fn count(outcomes: &[Value], status: &str) -> usize {
    outcomes.iter().filter(|outcome| outcome["status"] == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_are_deleted_first_then_all_outcomes_but_not_the_campaign() {
    let (files, status_urls) = closed_with_backlog().await;
    let (system, shared) = Shared::start(files, |_| {}).await;
    for status_url in &status_urls {
        system.outcome(status_url).await;
    }
    shared.sweep(None, None).await;
    shared.sweep(Some(1), Some(1)).await;
    let all = system.export(COUPON).await;
    assert_eq!((count(&all, "ISSUED"), count(&all, "REJECTED")), (1, 2), "kept for an hour");
    shared.sweep(Some(0), Some(1)).await;
    let rest = system.export(COUPON).await;
    assert_eq!((count(&rest, "ISSUED"), rest.len()), (1, 1));
    shared.sweep(Some(0), Some(0)).await;
    assert_eq!(system.export(COUPON).await, Vec::<Value>::new());
    assert_eq!(shared.ledger.delete_terms(coupon(), 9).await.expect("deletes"), 0, "the sweep has deleted them");
    let due = shared.ledger.expired_campaigns(GroupNo::FIRST, Deletion::All, i64::MAX, 9).await.expect("reads");
    assert_eq!(due, Vec::<CouponId>::new());
    let audit = system.operate(Method::GET, &format!("/admin/coupons/{COUPON}/audit?recount=true"), None).await.body;
    assert_eq!((&audit["balanced"], &audit["granted"], &audit["soldOut"]), (&true.into(), &1.into(), &2.into()));
    assert_eq!((&audit["recount"]["outcomesDeleted"], &audit["recount"]["granted"]), (&true.into(), &0.into()));
    let again = system.call(Method::POST, "/coupon/issue", Some(request(1))).await;
    assert_eq!((again.status, &again.body["reason"]), (StatusCode::CONFLICT, &"CLOSED".into()));
    let shown = system.operate(Method::GET, &format!("/admin/coupons/{COUPON}"), None).await;
    assert_eq!((&shown.body["state"], &shown.body["remaining"]), (&"CLOSED".into(), &0.into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_of_a_coupon_ends_with_the_last_outcome_of_its_campaign() {
    let (system, shared) = Shared::start(Files::new(), |_| {}).await;
    let path = format!("/admin/coupons/{COUPON}/pipeline");
    let new = json!({ "couponId": COUPON, "policyId": 21, "total": 1, "shards": 1 });
    assert_eq!(system.operate(Method::POST, "/admin/coupons", Some(new)).await.status, StatusCode::CREATED);
    for policy in ["hash-user", "round-robin"] {
        let patch = json!({ "shard-picker": { "policy": policy } });
        assert_eq!(system.operate(Method::PUT, &path, Some(patch)).await.status, StatusCode::OK);
    }
    system.operate(Method::POST, &format!("/admin/coupons/{COUPON}/close"), None).await;
    let history = async |system: &Fixture| {
        let shown = system.operate(Method::GET, &path, None).await;
        assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
        shown.body["history"].as_array().expect("a list").len()
    };
    shared.sweep(Some(0), Some(1)).await;
    assert_eq!(history(&system).await, 2, "rejections alone do not end it");
    shared.sweep(Some(0), Some(0)).await;
    assert_eq!(history(&system).await, 0);
    let rollback = system.operate(Method::POST, &format!("{path}/rollback"), None).await;
    assert_eq!(rollback.body["reason"], "NOTHING_TO_ROLL_BACK", "{}", rollback.body);

    drop(shared);
    let (system, _) = Shared::start(system.stop().await, |_| {}).await;
    assert_eq!(history(&system).await, 0);
    let next = system.pick_with("hash-user").await;
    assert_eq!(next.body["generation"], 4, "the numbers before are taken: {}", next.body);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_while_a_record_is_not_settled() {
    let (files, _) = closed_with_backlog().await;
    let (system, shared) = Shared::start(files, |config| config.role = Role::Gateway).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let retention = shared.retention(&BTreeMap::new(), Some(0), Some(0));
    assert!(tokio::time::timeout(Duration::from_millis(200), retention.sweep()).await.is_err(), "it waits");
    let due = shared.ledger.expired_campaigns(GroupNo::FIRST, Deletion::Rejections, i64::MAX, 9).await.expect("reads");
    assert_eq!(due, [coupon()]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_deletion_fails_holds_up_no_other() {
    let files = Files::new();
    let ports = Ports::open(&files.config()).await.expect("embedded ports open");
    let faults = Arc::new(LedgerFaults::default());
    let ledger = FaultyLedger::wrap(ports.ledger, &faults);
    let shared = Shared { log: ports.log, ledger: Arc::clone(&ledger) };
    let (first, second) = (coupon(), (COUPON + 1).try_into().expect("in range"));
    for coupon in [first, second] {
        store_expired(&*ledger, coupon, 1).await;
    }
    faults.undeletable_coupon.store(COUPON, Ordering::Relaxed);
    let failed = shared.retention(&BTreeMap::new(), Some(1), Some(1)).sweep().await.expect("sweeps");
    assert_eq!(failed.into_keys().collect::<Vec<_>>(), [first]);
    assert_eq!((outcomes(&*ledger, first).await, outcomes(&*ledger, second).await), (1, 0));
    faults.undeletable_coupon.store(0, Ordering::Relaxed);
    shared.sweep(Some(1), Some(1)).await;
    assert_eq!(outcomes(&*ledger, first).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_outcomes_are_deleted_in_chunks() {
    let files = Files::new();
    let ports = Ports::open(&files.config()).await.expect("embedded ports open");
    let faults = Arc::new(LedgerFaults::default());
    let shared = Shared { log: ports.log, ledger: FaultyLedger::wrap(ports.ledger, &faults) };
    store_expired(&*shared.ledger, coupon(), 2_500).await;
    shared.sweep(Some(1), Some(1)).await;
    assert_eq!(*faults.deletions.lock().expect("no panic"), [1_000, 1_000, 500]);
    assert_eq!(outcomes(&*shared.ledger, coupon()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_system_deletes_old_outcomes_by_itself() {
    let files = Files::new();
    let ledger = ledger::open(&files.config().ledger, 12).await.expect("opens");
    store_expired(&*ledger, coupon(), 1).await;
    ledger.close().await;
    drop(ledger);
    let (system, shared) = Shared::start(files, |_| {}).await;
    let is_deleted = async || (outcomes(&*shared.ledger, coupon()).await == 0).then_some(());
    eventually("the outcome is deleted", is_deleted).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_one_line_for_every_outcome() {
    let (files, status_urls) = closed_with_backlog().await;
    let (system, _) = Shared::start(files, |_| {}).await;
    for status_url in &status_urls {
        system.outcome(status_url).await;
    }
    let all = system.export(COUPON).await;
    assert_eq!(all.iter().map(|outcome| &outcome["userId"]).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((count(&all, "ISSUED"), count(&all, "REJECTED")), (1, 2));
    let sent = request(1);
    for field in ["typeSnapshot", "discountRateSnapshot", "discountAmountSnapshot", "usagePeriodSnapshot", "expiredAt"]
    {
        let issued = all.iter().find(|outcome| outcome["status"] == "ISSUED").expect("a grant");
        assert_eq!(issued["terms"][field], sent[field], "{field}");
    }
    assert!(all.iter().all(|outcome| (outcome["status"] == "ISSUED") != outcome["terms"].is_null()), "of grants only");
    for (listed, status_url) in all.iter().zip(&status_urls) {
        let outcome = system.outcome(status_url).await;
        for field in ["requestId", "status", "reason", "couponId", "shardNo", "settledAt"] {
            assert_eq!(listed[field], outcome[field], "{field}");
        }
    }
    let unknown = system.operate(Method::GET, "/admin/coupons/9/outcomes", None).await;
    assert_eq!((unknown.status, &unknown.body["reason"]), (StatusCode::NOT_FOUND, &"COUPON_NOT_FOUND".into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_says_whether_outcomes_were_deleted() {
    let (files, status_urls) = closed_with_backlog().await;
    let (system, shared) = Shared::start(files, |_| {}).await;
    for status_url in &status_urls {
        system.outcome(status_url).await;
    }
    let export = || system.operate(Method::GET, "/admin/coupons/105/outcomes", None);
    assert!(!export().await.headers.contains_key("sluice-outcomes-deleted"));
    shared.sweep(Some(0), Some(1)).await;
    assert_eq!(export().await.headers["sluice-outcomes-deleted"], "true");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_campaign_is_answered_and_listed_after_a_restart_but_has_no_metrics() {
    let system = Fixture::start().await;
    assert!(system.metrics().await.contains("coupon=\"104\""));
    system.operate(Method::POST, "/admin/coupons/104/top-up", Some(json!({ "amount": 1 }))).await;
    system.operate(Method::POST, "/admin/coupons/104/close", None).await;
    let files = system.stop().await;
    let system = Fixture::with(files, |_| {}, |ports| ports).await;
    assert_eq!(system.issue(1).await.body["reason"], "CLOSED");
    let listed = system.operate(Method::GET, "/admin/coupons", None).await.body;
    assert_eq!((&listed[0]["couponId"], &listed[0]["state"]), (&104.into(), &"CLOSED".into()));
    assert!(!system.metrics().await.contains("coupon=\"104\""));
    system.stop().await;
}
