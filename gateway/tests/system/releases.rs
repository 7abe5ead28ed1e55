//! A user whose request was rejected may try again, whatever happened between the commit and the counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::config::{Config, Role};

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::faulty_counters::FaultyCounters;
use crate::harness::{Answer, Files, Fixture, eventually, payload, replace_ledger};

const COUPON: u64 = 7;

fn request(user: u64) -> Value {
    let mut body = payload(user);
    body["couponId"] = COUPON.into();
    body
}

/// A sale of one coupon to `users` users, whose requests wait in the only partition of the log.
async fn sale(counters: &Arc<FaultyCounters>, users: u64) -> (Files, Vec<String>) {
    let configure = |config: &mut Config| {
        config.role = Role::Gateway;
        config.log.partitions = 1;
    };
    let system = Fixture::with(Files::new(), configure, |ports| counters.replace(ports)).await;
    let campaign = json!({ "couponId": COUPON, "policyId": 21, "total": 1, "shards": 1 });
    assert_eq!(system.operate(Method::POST, "/admin/coupons", Some(campaign)).await.status, StatusCode::CREATED);
    let mut status_urls = Vec::new();
    for user in 1..=users {
        let answer = system.call(Method::POST, "/coupon/issue", Some(request(user))).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        status_urls.push(answer.body["statusUrl"].as_str().expect("a status URL").to_owned());
    }
    (system.stop().await, status_urls)
}

async fn start(files: Files, counters: &Arc<FaultyCounters>, faults: &Arc<LedgerFaults>) -> Fixture {
    let replace = |ports| replace_ledger(counters.replace(ports), |ledger| FaultyLedger::wrap(ledger, faults));
    let configure = |config: &mut Config| {
        config.log.partitions = 1;
        // A small batch bounds the rejected requests that settlement remembers.
        config.settlement.batch_records_max = 2;
    };
    Fixture::with(files, configure, replace).await
}

/// Waits until the first user has the coupon and all others have nothing.
async fn sold_out(system: &Fixture, status_urls: &[String]) {
    for (user, status_url) in (1..).zip(status_urls) {
        let outcome = system.outcome(status_url).await;
        let expected = if user == 1 { "ISSUED" } else { "REJECTED" };
        assert_eq!(outcome["status"], expected, "user {user}: {outcome}");
    }
}

/// Adds stock and requests a coupon for every rejected user, until each request is accepted.
async fn every_rejected_user_is_served(system: &Fixture, users: u64) {
    let top_up = format!("/admin/coupons/{COUPON}/top-up");
    let topped = system.operate(Method::POST, &top_up, Some(json!({ "amount": users }))).await;
    assert_eq!(topped.status, StatusCode::OK, "{}", topped.body);
    for user in 2..=users {
        eventually(&format!("user {user} is accepted again"), async || {
            let answer = system.call(Method::POST, "/coupon/issue", Some(request(user))).await;
            (answer.status == StatusCode::ACCEPTED).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_commit_and_the_counters_is_made_up_for_after_the_next_start() {
    let (counters, faults) = (Arc::default(), Arc::default());
    let (files, status_urls) = sale(&counters, 5).await;
    counters.forget_hangs.store(true, Ordering::Relaxed);
    let system = start(files, &counters, &faults).await;
    sold_out(&system, &status_urls).await;
    let files = system.stop().await;

    counters.forget_hangs.store(false, Ordering::Relaxed);
    let system = start(files, &counters, &faults).await;
    every_rejected_user_is_served(&system, 5).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_followed_by_its_releases() {
    let (counters, faults) = (Arc::default(), Arc::<LedgerFaults>::default());
    let (files, status_urls) = sale(&counters, 5).await;
    faults.commit_answers_lost.store(3, Ordering::Relaxed);
    let system = start(files, &counters, &faults).await;
    sold_out(&system, &status_urls).await;
    every_rejected_user_is_served(&system, 5).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_an_outage_of_the_counters_loses_no_release() {
    let (counters, faults) = (Arc::default(), Arc::default());
    let (files, status_urls) = sale(&counters, 5).await;
    counters.forget_fails.store(true, Ordering::Relaxed);
    let system = start(files, &counters, &faults).await;
    sold_out(&system, &status_urls).await;
    let files = system.stop().await;

    let system = start(files, &counters, &faults).await;
    counters.forget_fails.store(false, Ordering::Relaxed);
    every_rejected_user_is_served(&system, 5).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rejections_than_settlement_remembers_in_an_outage_are_all_released() {
    const USERS: u64 = 80;
    let (counters, faults) = (Arc::default(), Arc::default());
    let (files, status_urls) = sale(&counters, USERS).await;
    counters.forget_fails.store(true, Ordering::Relaxed);
    let system = start(files, &counters, &faults).await;
    sold_out(&system, &status_urls).await;
    counters.forget_fails.store(false, Ordering::Relaxed);
    every_rejected_user_is_served(&system, USERS).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_a_record_that_can_never_be_stored_may_try_again() {
    let (counters, faults) = (Arc::default(), Arc::<LedgerFaults>::default());
    let (files, status_urls) = sale(&counters, 2).await;
    faults.poison_user.store(2, Ordering::Relaxed);
    let system = start(files, &counters, &faults).await;
    sold_out(&system, &status_urls).await;
    faults.poison_user.store(0, Ordering::Relaxed);
    every_rejected_user_is_served(&system, 2).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_a_rejected_request_that_was_accepted_again_may_send_another() {
    const KEY: &str = "one-key";
    let (counters, faults) = (Arc::default(), Arc::<LedgerFaults>::default());
    let system = start(Files::new(), &counters, &faults).await;
    let campaign = json!({ "couponId": COUPON, "policyId": 21, "total": 1, "shards": 1 });
    assert_eq!(system.operate(Method::POST, "/admin/coupons", Some(campaign)).await.status, StatusCode::CREATED);
    faults.is_suspended.store(true, Ordering::Relaxed);
    let issued = system.call(Method::POST, "/coupon/issue", Some(request(1))).await;
    let first = system.issue_under(KEY, request(2)).await;
    faults.is_suspended.store(false, Ordering::Relaxed);
    system.sees_the_ledger().await;
    let url = |answer: &Answer| answer.body["statusUrl"].as_str().expect("a status URL").to_owned();
    sold_out(&system, &[url(&issued), url(&first)]).await;
    let top_up = format!("/admin/coupons/{COUPON}/top-up");
    let topped = system.operate(Method::POST, &top_up, Some(json!({ "amount": 1 }))).await;
    assert_eq!(topped.status, StatusCode::OK, "{}", topped.body);

    // Another gateway, which does not remember the request and cannot read its outcome.
    let system = start(system.stop().await, &counters, &faults).await;
    faults.is_down.store(true, Ordering::Relaxed);
    let again = system.issue_under(KEY, request(2)).await;
    assert_eq!((again.status, &again.body["requestId"]), (StatusCode::ACCEPTED, &first.body["requestId"]));
    faults.is_down.store(false, Ordering::Relaxed);
    system.sees_the_ledger().await;
    assert_eq!(system.outcome(&url(&again)).await["status"], "REJECTED");
    eventually("a new request is accepted", async || {
        let answer = system.call(Method::POST, "/coupon/issue", Some(request(2))).await;
        (answer.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    system.stop().await;
}
