//! One Idempotency-Key: who it belongs to, and what a retry gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::config::Role;
use sluice::log::AppendError;

use crate::faulty_counters::FaultyCounters;
use crate::harness::{Answer, Files, Fixture, PATIENCE, eventually, payload};
use crate::stuck_log::StuckLog;

const KEY: &str = "one-key";

/// Another body of the same user.
fn other_terms(user: u64) -> Value {
    let mut body = payload(user);
    body["discountAmountSnapshot"] = 2_000.into();
    body
}

fn is_conflict(answer: &Answer) -> bool {
    (answer.status, &answer.body["reason"]) == (StatusCode::UNPROCESSABLE_ENTITY, &"IDEMPOTENCY_CONFLICT".into())
}

/// A request that is accepted by mistake would wait for the log.
async fn refused_at_once(answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(PATIENCE, answer).await.expect("nothing is appended")
}

#[track_caller]
fn assert_same_request(first: &Answer, retry: &Answer) {
    assert_eq!(retry.status, StatusCode::ACCEPTED, "{}", retry.body);
    assert_eq!(retry.body["requestId"], first.body["requestId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_users_with_one_key_at_once_one_is_accepted_and_the_other_may_ask_again() {
    let system = Fixture::start().await;
    for pair in 0..10 {
        let (key, users) = (format!("key-{pair}"), (2 * pair + 1, 2 * pair + 2));
        let (one, other) =
            tokio::join!(system.issue_under(&key, payload(users.0)), system.issue_under(&key, payload(users.1)));
        let (accepted, loser) = if is_conflict(&one) { (other, users.0) } else { (one, users.1) };
        let status_url = accepted.body["statusUrl"].as_str().expect("a status URL");
        assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
        assert!(is_conflict(&system.issue_under(&key, payload(loser)).await), "the key belongs to the first user");
        let status_url = system.accepted(loser).await;
        assert_eq!(system.outcome(&status_url).await["status"], "ISSUED");
    }
    assert_eq!(system.audit(104).await["granted"], 20);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bodies_under_one_key_at_once_one_is_accepted_and_the_other_a_conflict() {
    let system = Fixture::start().await;
    for user in 1..=20 {
        let key = format!("key-{user}");
        let (one, other) =
            tokio::join!(system.issue_under(&key, payload(user)), system.issue_under(&key, other_terms(user)));
        let accepted = [&one, &other].into_iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
        let conflicts = [&one, &other].into_iter().filter(|answer| is_conflict(answer)).count();
        assert_eq!((accepted, conflicts), (1, 1), "{} {}", one.body, other.body);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_the_same_request_after_the_campaign_closed_and_after_a_restart() {
    let system = Fixture::start().await;
    let first = system.issue_under(KEY, payload(1)).await;
    let status_url = first.body["statusUrl"].as_str().expect("a status URL");
    assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
    assert_eq!(system.operate(Method::POST, "/admin/coupons/104/close", None).await.status, StatusCode::OK);
    assert_same_request(&first, &system.issue_under(KEY, payload(1)).await);
    assert!(is_conflict(&system.issue_under(KEY, other_terms(1)).await));

    let system = Fixture::with(system.stop().await, |_| {}, |ports| ports).await;
    let retry = system.issue_under(KEY, payload(1)).await;
    assert_same_request(&first, &retry);
    assert_eq!(retry.body["status"], "ISSUED");
    assert!(is_conflict(&system.issue_under(KEY, other_terms(1)).await), "the ledger remembers the key");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_is_a_conflict_also_before_settlement_and_while_the_campaign_is_paused() {
    let system = Fixture::gateway_only(Files::new()).await;
    let first = system.issue_under(KEY, payload(1)).await;
    assert_eq!(first.body["status"], "PENDING", "{}", first.body);
    system.operate(Method::POST, "/admin/coupons/104/pause", None).await;
    assert_same_request(&first, &system.issue_under(KEY, payload(1)).await);
    assert!(is_conflict(&system.issue_under(KEY, other_terms(1)).await));
    for _ in 0..2 {
        let new = system.issue_under("another-key", payload(2)).await;
        assert_eq!((new.status, &new.body["reason"]), (StatusCode::CONFLICT, &"PAUSED".into()));
    }
    system.operate(Method::POST, "/admin/coupons/104/resume", None).await;
    assert_eq!(system.issue_under("another-key", other_terms(2)).await.status, StatusCode::ACCEPTED);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_key_free_for_any_body() {
    let system = Fixture::start().await;
    system.operate(Method::POST, "/admin/coupons/104/pause", None).await;
    assert_eq!(system.issue_under(KEY, payload(1)).await.body["reason"], "PAUSED");
    system.operate(Method::POST, "/admin/coupons/104/resume", None).await;
    system.accepted(1).await;
    for body in [payload(1), other_terms(1), payload(1)] {
        assert_eq!(system.issue_under(KEY, body).await.body["reason"], "USER_LIMIT");
    }
    let pipeline = json!({ "user-limit": { "policy": "quota", "config": { "limit": 2 } } });
    assert_eq!(system.operate(Method::PUT, "/admin/pipeline", Some(pipeline)).await.status, StatusCode::OK);
    let accepted = system.issue_under(KEY, other_terms(1)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
    assert!(is_conflict(&system.issue_under(KEY, payload(1)).await));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_first_attempt_leaves_an_accepted_retry_counted_and_its_key_held() {
    let log = StuckLog::new();
    let system = Fixture::with(Files::new(), |_| {}, |ports| log.replace(ports)).await;
    let one_an_hour = json!({ "policy": "sliding-window", "config": { "limit": 1, "window_ms": 3_600_000 } });
    let changed = system.operate(Method::PUT, "/admin/pipeline", Some(json!({ "user-limit": one_an_hour }))).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let enqueued =
        async |records| eventually("it is enqueued", async || (log.waiting() == records).then_some(())).await;

    let (first, retry) = tokio::join!(system.issue_under(KEY, payload(1)), async {
        enqueued(1).await;
        let (retry, ()) = tokio::join!(system.issue_under(KEY, payload(1)), async {
            enqueued(2).await;
            log.acknowledge_newest();
        });
        log.fail(&AppendError::NotWritten("the disk is full".into()));
        retry
    });
    assert_eq!(first.body["reason"], "LOG_UNAVAILABLE", "{}", first.body);
    assert_eq!(retry.status, StatusCode::ACCEPTED, "{}", retry.body);

    let another = refused_at_once(system.issue(1)).await;
    assert_eq!(another.body["reason"], "USER_LIMIT", "{}", another.body);
    assert!(is_conflict(&refused_at_once(system.issue_under(KEY, other_terms(1))).await));
    system.stop_without_settling().await.expect("stops in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_claimed_at_the_next_hook_if_the_counters_missed_the_first() {
    let counters: Arc<FaultyCounters> = Arc::default();
    let replace = |ports| counters.replace(ports);
    let system = Fixture::with(Files::new(), |config| config.role = Role::Gateway, replace).await;
    counters.reservations_missed.store(1, Ordering::Relaxed);
    let accepted = system.issue_under(KEY, payload(1)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
    assert_eq!(counters.reservations_missed.load(Ordering::Relaxed), 0);
    let other = system.issue_under(KEY, other_terms(1)).await;
    assert!(is_conflict(&other), "{}", other.body);
    system.stop().await;
}
