//! While the ledger is unreachable, a gateway accepts what the log accepts, and lets nobody wait for the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::config::{Config, Role};
use tokio::task::JoinSet;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Answer, Files, Fixture, PATIENCE, eventually, payload, replace_ledger};

const SOLD_OUT_COUPON: u64 = 7;
const KEY: &str = "one-key";

/// How the ledger is unreachable: it refuses every call, or answers none.
const OUTAGES: [fn(&LedgerFaults) -> &AtomicBool; 2] = [|faults| &faults.is_down, |faults| &faults.is_suspended];

struct Outage {
    system: Arc<Fixture>,
    faults: Arc<LedgerFaults>,
    fault: fn(&LedgerFaults) -> &AtomicBool,
}

impl Outage {
    /// A system whose ledger is shared, and will be unreachable in one of the ways.
    async fn prepare(files: Files, role: Role, fault: fn(&LedgerFaults) -> &AtomicBool) -> Self {
        let faults = Arc::new(LedgerFaults::default());
        faults.is_shared.store(true, Ordering::Relaxed);
        let configure = |config: &mut Config| {
            config.role = role;
            config.http.in_flight_max = 400;
        };
        let replace = |ports| replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
        let system = Arc::new(Fixture::with(files, configure, replace).await);
        Self { system, faults, fault }
    }

    fn begin(&self) {
        (self.fault)(&self.faults).store(true, Ordering::Relaxed);
    }

    /// Returns when the gateway has noticed.
    async fn end(&self) {
        (self.fault)(&self.faults).store(false, Ordering::Relaxed);
        self.system.sees_the_ledger().await;
    }

    async fn stop(self) -> Files {
        (self.fault)(&self.faults).store(false, Ordering::Relaxed);
        Arc::into_inner(self.system).expect("the only one").stop().await
    }

    /// Issues the only coupon of a campaign.
    async fn sell_out(&self) {
        let campaign = json!({ "couponId": SOLD_OUT_COUPON, "policyId": 21, "total": 1, "shards": 1 });
        let created = self.system.operate(Method::POST, "/admin/coupons", Some(campaign)).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
        let sold = issue(&self.system, SOLD_OUT_COUPON, 1).await;
        assert_eq!(self.system.outcome(status_url(&sold)).await["status"], "ISSUED");
        self.sees_no_stock().await;
    }

    async fn sees_no_stock(&self) {
        let is_sold_out = async || issue(&self.system, SOLD_OUT_COUPON, 2).await.body["reason"] == "SOLD_OUT";
        eventually("the coupon is sold out", async || is_sold_out().await.then_some(())).await;
    }
}

async fn issue(system: &Fixture, coupon: u64, user: u64) -> Answer {
    let mut body = payload(user);
    body["couponId"] = coupon.into();
    within_patience(system.call(Method::POST, "/coupon/issue", Some(body))).await
}

async fn status(system: &Fixture, url: &str) -> Answer {
    within_patience(system.call(Method::GET, url, None)).await
}

async fn within_patience(answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
}

fn status_url(answer: &Answer) -> &str {
    answer.body["statusUrl"].as_str().unwrap_or_else(|| panic!("no status URL: {}", answer.body))
}

#[track_caller]
fn assert_ledger_unavailable(answer: &Answer) {
    let seen = (answer.status, &answer.body["reason"]);
    assert_eq!(seen, (StatusCode::SERVICE_UNAVAILABLE, &"LEDGER_UNAVAILABLE".into()), "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
}

#[track_caller]
fn assert_pending(answer: &Answer) {
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &"PENDING".into()), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_a_sold_out_coupon_take_no_place_from_those_for_another() {
    for fault in OUTAGES {
        let outage = Outage::prepare(Files::new(), Role::All, fault).await;
        outage.sell_out().await;
        outage.begin();
        let mut hammering = JoinSet::new();
        for user in 1..=500 {
            let system = Arc::clone(&outage.system);
            hammering.spawn(async move { issue(&system, SOLD_OUT_COUPON, user).await });
            tokio::time::sleep(Duration::from_millis(5)).await;
            if user % 10 == 0 {
                let accepted = issue(&outage.system, 104, user).await;
                assert_eq!(accepted.status, StatusCode::ACCEPTED, "user {user}: {}", accepted.body);
            }
        }
        for answer in hammering.join_all().await {
            assert_ledger_unavailable(&answer);
        }
        outage.end().await;
        outage.sees_no_stock().await;
        outage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_a_key_is_accepted_and_a_retry_is_the_same_request() {
    for fault in OUTAGES {
        let outage = Outage::prepare(Files::new(), Role::All, fault).await;
        let first = outage.system.issue_under(KEY, payload(1)).await;
        assert_eq!(outage.system.outcome(status_url(&first)).await["status"], "ISSUED");
        let files = outage.stop().await;

        // Another gateway, which does not remember the request.
        let outage = Outage::prepare(files, Role::All, fault).await;
        outage.begin();
        let retry = within_patience(outage.system.issue_under(KEY, payload(1))).await;
        assert_eq!((retry.status, &retry.body["status"]), (StatusCode::ACCEPTED, &"PENDING".into()), "{}", retry.body);
        assert_eq!(retry.body["requestId"], first.body["requestId"]);
        let new = within_patience(outage.system.issue_under("another-key", payload(2))).await;
        assert_eq!(new.status, StatusCode::ACCEPTED, "{}", new.body);
        outage.end().await;
        for answer in [&retry, &new] {
            assert_eq!(outage.system.outcome(status_url(answer)).await["status"], "ISSUED");
        }
        assert_eq!(outage.system.audit(104).await["granted"], 2);
        outage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_the_campaign_closed_is_not_refused_as_closed() {
    for fault in OUTAGES {
        let outage = Outage::prepare(Files::new(), Role::All, fault).await;
        let first = outage.system.issue_under(KEY, payload(1)).await;
        assert_eq!(outage.system.outcome(status_url(&first)).await["status"], "ISSUED");
        let closed = outage.system.operate(Method::POST, "/admin/coupons/104/close", None).await;
        assert_eq!(closed.status, StatusCode::OK, "{}", closed.body);
        let outage = Outage::prepare(outage.stop().await, Role::All, fault).await;
        outage.begin();
        assert_ledger_unavailable(&within_patience(outage.system.issue_under(KEY, payload(1))).await);
        assert_eq!(issue(&outage.system, 104, 2).await.body["reason"], "CLOSED");
        outage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_call_answers_pending_where_it_is_known_and_otherwise_fails_at_once() {
    for fault in OUTAGES {
        let outage = Outage::prepare(Files::new(), Role::All, fault).await;
        let settled = outage.system.accepted(1).await;
        assert_eq!(outage.system.outcome(&settled).await["status"], "ISSUED");
        outage.begin();
        let pending = outage.system.accepted(2).await;
        assert_pending(&status(&outage.system, &pending).await);
        assert_pending(&status(&outage.system, &format!("{pending}&wait=100ms")).await);
        assert_ledger_unavailable(&status(&outage.system, &settled).await);
        assert_ledger_unavailable(&status(&outage.system, Fixture::UNKNOWN_REQUEST).await);
        outage.end().await;
        assert_eq!(outage.system.outcome(&pending).await["status"], "ISSUED");
        outage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_accepts_requests_stays_ready_and_names_the_ledger() {
    for fault in OUTAGES {
        for role in [Role::Gateway, Role::All] {
            let outage = Outage::prepare(Files::new(), role, fault).await;
            outage.begin();
            let ready = within_patience(outage.system.ready()).await;
            assert_eq!((ready.status, &ready.body["ready"]), (StatusCode::OK, &true.into()), "{}", ready.body);
            assert!(ready.body["ledger"].as_str().is_some_and(|ledger| ledger != "ok"), "{}", ready.body);
            let public = within_patience(outage.system.call(Method::GET, "/readyz", None)).await;
            assert_eq!((public.status, &public.body["ledger"]), (StatusCode::OK, &Value::from("unavailable")));
            outage.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_not_ready() {
    for fault in OUTAGES {
        let outage = Outage::prepare(Files::new(), Role::Consumer, fault).await;
        outage.begin();
        let ready = within_patience(outage.system.ready()).await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{}", ready.body);
        outage.stop().await;
    }
}
