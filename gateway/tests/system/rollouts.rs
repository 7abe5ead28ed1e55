//! Rollouts on two gateways of one ledger, under load: bad candidates are rolled back, good ones are promoted, and no
//! request fails because of either.

mod bad_candidates;
#[path = "../common/candidates.rs"]
mod candidates;
mod faults;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::config::Role;
use sluice::telemetry::Telemetry;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Answer, Files, Fixture, PATIENCE, eventually, payload_for, replace_ledger, share, stop_all};

/// Larger than any test needs.
const COUPON: u64 = 7;
/// Requests at the same time, of each gateway.
const CLIENTS: u64 = 8;

/// Two gateways on one ledger that other processes use too. Settlement does not run.
struct Pair {
    gateways: [Fixture; 2],
    faults: Arc<LedgerFaults>,
    /// For another gateway.
    ports: Ports,
    /// Of the last request.
    user: AtomicU64,
}

/// How requests were answered.
#[derive(Debug, Default)]
struct Answers {
    accepted: u64,
    /// By a policy.
    refused: u64,
    by_canary: u64,
}

impl Pair {
    async fn start() -> Self {
        let faults = Arc::new(LedgerFaults::default());
        faults.is_shared.store(true, Ordering::Relaxed);
        let (one, other) = (Files::new(), Files::new());
        let mut config = one.config();
        config.role = Role::Gateway;
        let ports = Ports::open(&config).await.expect("embedded ports open");
        let mut ports = replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
        let one = Fixture::on(share(&mut ports), one, config).await;
        let other = Self::join(share(&mut ports), other).await;
        let campaign =
            json!({ "couponId": COUPON, "policyId": 21, "total": 1_000_000, "shards": 4, "perUserLimit": 1 });
        let created = one.operate(Method::POST, "/admin/coupons", Some(campaign)).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
        let pair = Self { gateways: [one, other], faults, ports, user: AtomicU64::new(0) };
        for gateway in &pair.gateways {
            eventually("the campaign is known", async || {
                (ask(gateway, 1).await.status != StatusCode::NOT_FOUND).then_some(())
            })
            .await;
        }
        pair.user.store(1, Ordering::Relaxed);
        pair
    }

    /// Another gateway on the same ports, with metrics of its own.
    async fn join(ports: Ports, files: Files) -> Fixture {
        let mut config = files.config();
        config.role = Role::Gateway;
        let ports = Ports { telemetry: Telemetry::new(), ..ports };
        Fixture::on(ports, files, config).await
    }

    async fn stop(self) {
        stop_all(self.gateways).await;
    }

    /// Starts a rollout on the first gateway, and waits until both take part in it.
    async fn roll_out(&self, rollout: Value) -> u64 {
        let started = self.gateways[0].operate(Method::POST, "/admin/rollouts", Some(rollout)).await;
        assert_eq!(started.status, StatusCode::CREATED, "{}", started.body);
        for gateway in &self.gateways {
            eventually("the gateway takes part", async || (running(gateway).await == 1).then_some(())).await;
        }
        started.body["id"].as_u64().expect("a number")
    }

    /// Sends requests of new users to both gateways until the rollout is over. Every answer must be one that the
    /// policies give.
    async fn load_until_over(&self, id: u64) -> (Value, Answers) {
        let mut answers = Answers::default();
        let rounds = async {
            loop {
                answers.add(&self.round().await);
                let rollout = self.rollout(id).await;
                if !["running", "promoting"].contains(&rollout["status"]["state"].as_str().expect("a state")) {
                    return rollout;
                }
            }
        };
        let over = tokio::time::timeout(PATIENCE, rounds).await.expect("the rollout ends");
        for gateway in &self.gateways {
            eventually("the gateway has seen the end", async || (running(gateway).await == 0).then_some(())).await;
        }
        (over, answers)
    }

    /// A request of each client to each gateway.
    async fn round(&self) -> Answers {
        let requests = self
            .gateways
            .iter()
            .flat_map(|gateway| (0..CLIENTS).map(move |_| ask(gateway, self.user.fetch_add(1, Ordering::Relaxed) + 1)));
        let mut answers = Answers::default();
        for answer in join_all(requests).await {
            match answer.status {
                StatusCode::ACCEPTED => answers.accepted += 1,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN => answers.refused += 1,
                status => panic!("{status}: {}", answer.body),
            }
            answers.by_canary += u64::from(is_canary(&answer));
        }
        answers
    }

    async fn rollout(&self, id: u64) -> Value {
        let answer = self.gateways[1].operate(Method::GET, &format!("/admin/rollouts/{id}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    async fn generations(&self) -> [Value; 2] {
        [
            self.gateways[0].pipeline().await["generation"].clone(),
            self.gateways[1].pipeline().await["generation"].clone(),
        ]
    }
}

impl Answers {
    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.by_canary += other.by_canary;
    }
}

async fn ask(gateway: &Fixture, user: u64) -> Answer {
    gateway.call(Method::POST, "/coupon/issue", Some(payload_for(COUPON, user))).await
}

fn is_canary(answer: &Answer) -> bool {
    answer.headers.get("sluice-generation").is_some_and(|value| value.as_bytes().ends_with(b";arm=canary"))
}

/// How many rollouts a gateway takes part in.
async fn running(gateway: &Fixture) -> u64 {
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("sluice_rollouts_running "));
    line.and_then(|number| number.parse().ok()).expect("a series")
}
