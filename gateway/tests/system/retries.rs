//! A retry under an Idempotency-Key that reaches another gateway on the same log, ledger and counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::config::{Config, Role};
use sluice::counters::{Hook, Subject};
use sluice::coupon::{CampaignCounts, Fingerprint, IssueRequest, now_ms};

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::faulty_counters::FaultyCounters;
use crate::harness::{Answer, Files, Fixture, eventually, payload, replace_ledger, share, stop_all};

const KEY: &str = "one-key";

/// Another body of the first user.
fn other_body() -> Value {
    let mut body = payload(1);
    body["discountAmountSnapshot"] = 2_000.into();
    body
}

/// Ports that several processes use.
async fn open(data: &Files) -> Ports {
    let faults = Arc::new(LedgerFaults::default());
    faults.is_shared.store(true, Ordering::Relaxed);
    let ports = Ports::open(&data.config()).await.expect("embedded ports open");
    replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults))
}

async fn start(ports: &mut Ports, role: Role) -> Fixture {
    let files = Files::new();
    let mut config = files.config();
    config.role = role;
    Fixture::on(share(ports), files, config).await
}

fn reason(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["reason"].as_str().unwrap_or_default())
}

impl Fixture {
    /// Closes the campaign here, and waits until the other gateway knows.
    async fn close_for(&self, other: &Self) {
        let closed = self.operate(Method::POST, "/admin/coupons/104/close", None).await;
        assert_eq!(closed.status, StatusCode::OK, "{}", closed.body);
        let is_known = async || (other.issue(9).await.body["reason"] == "CLOSED").then_some(());
        eventually("the other gateway knows that the campaign is closed", is_known).await;
    }

    /// A retry is answered with the outcome of the first attempt, once there is one.
    async fn finds_issued(&self, first: &Answer) {
        let retry = eventually("the retry is answered", async || {
            let retry = self.issue_under(KEY, payload(1)).await;
            (retry.status != StatusCode::SERVICE_UNAVAILABLE).then_some(retry)
        })
        .await;
        assert_eq!((retry.status, &retry.body["status"]), (StatusCode::ACCEPTED, &"ISSUED".into()), "{}", retry.body);
        assert_eq!(retry.body["requestId"], first.body["requestId"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_same_request_although_the_campaign_closed_before_the_first_attempt_was_settled() {
    let data = Files::new();
    let mut ports = open(&data).await;
    let here = start(&mut ports, Role::Gateway).await;
    let there = start(&mut ports, Role::Gateway).await;
    let first = here.issue_under(KEY, payload(1)).await;
    assert_eq!(first.body["status"], "PENDING", "{}", first.body);
    here.close_for(&there).await;

    let early = there.issue_under(KEY, payload(1)).await;
    assert_eq!(reason(&early), (503, "LEDGER_UNAVAILABLE"), "nothing settles the first attempt yet: {}", early.body);
    assert!(early.headers.contains_key("retry-after"));
    assert_eq!(reason(&there.issue_under(KEY, other_body()).await), (422, "IDEMPOTENCY_CONFLICT"));
    assert_eq!(reason(&there.issue_under("another-key", payload(2)).await), (409, "CLOSED"));

    let consumer = start(&mut ports, Role::Consumer).await;
    there.finds_issued(&first).await;
    let of_user = |outcome: &&Value| outcome["userId"] == 1;
    assert_eq!(here.export(104).await.iter().filter(of_user).count(), 1);
    drop(ports);
    stop_all([here, there, consumer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_refused_as_paused_or_closed_while_the_counters_do_not_answer() {
    let data = Files::new();
    let counters = Arc::new(FaultyCounters::default());
    let mut ports = counters.replace(open(&data).await);
    let here = start(&mut ports, Role::Gateway).await;
    let there = start(&mut ports, Role::Gateway).await;
    let first = here.issue_under(KEY, payload(1)).await;
    assert_eq!(first.body["status"], "PENDING", "{}", first.body);
    counters.key_holder_fails.store(true, Ordering::Relaxed);
    let paused = here.operate(Method::POST, "/admin/coupons/104/pause", None).await;
    assert_eq!(paused.status, StatusCode::OK, "{}", paused.body);
    let is_known = async || (there.issue(9).await.body["reason"] == "PAUSED").then_some(());
    eventually("the other gateway knows that the campaign is paused", is_known).await;
    assert_eq!(reason(&there.issue_under(KEY, payload(1)).await), (503, "LEDGER_UNAVAILABLE"));
    here.close_for(&there).await;
    assert_eq!(reason(&there.issue_under(KEY, payload(1)).await), (503, "LEDGER_UNAVAILABLE"));

    let consumer = start(&mut ports, Role::Consumer).await;
    there.finds_issued(&first).await;
    assert_eq!(reason(&there.issue_under("another-key", payload(2)).await), (409, "CLOSED"), "all is settled");
    drop(ports);
    stop_all([here, there, consumer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_that_was_never_appended_is_refused_once_the_campaign_is_closed() {
    let data = Files::new();
    let mut ports = open(&data).await;
    let here = start(&mut ports, Role::All).await;
    let there = start(&mut ports, Role::Gateway).await;
    // As a gateway that crashes between the claim and the append.
    let request: IssueRequest = serde_json::from_value(json!({
        "userId": 1, "couponId": 104, "policyId": 21, "terms": { "typeSnapshot": "FIXED" },
    }))
    .expect("a request");
    let subject = Subject {
        request_id: request.id_under(KEY.as_bytes()),
        attempt: 0,
        coupon_id: request.coupon_id,
        user_id: request.user_id,
        arrived_at_ms: now_ms(),
        fingerprint: Some(Fingerprint::of_key(KEY.as_bytes())),
        campaign_counts: CampaignCounts::default(),
    };
    ports.counters.reserve(Hook::UserLimit, &[], &subject).await.expect("claims");
    here.close_for(&there).await;
    let body = json!({ "userId": 1, "couponId": 104, "policyId": 21, "typeSnapshot": "FIXED" });
    let refused = eventually("all records of others are settled", async || {
        let refused = there.issue_under(KEY, body.clone()).await;
        (refused.status != StatusCode::SERVICE_UNAVAILABLE).then_some(refused)
    })
    .await;
    assert_eq!(reason(&refused), (409, "CLOSED"));
    drop(ports);
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_counters_opens_no_paused_campaign_to_requests_under_a_key() {
    let without_redis = |config: &mut Config| config.counters.url = "redis://127.0.0.1:1".to_owned();
    let system = Fixture::with(Files::new(), without_redis, |ports| ports).await;
    system.operate(Method::POST, "/admin/coupons/104/pause", None).await;
    assert_eq!(reason(&system.issue_under(KEY, payload(1)).await), (409, "PAUSED"));
    assert_eq!(reason(&system.issue(2).await), (409, "PAUSED"));
    system.stop().await;
}
