//! The steps of a rollout, and how a test stops in the middle of one: by a lock on the rows that the step changes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::MySqlConnection;
use tokio::task::JoinHandle;

use super::view::View;
use super::{PATIENCE, Pair};
use crate::client::{Answer, SendError, post};
use crate::harness::eventually;

/// Compiling a candidate takes longer.
const CHECKS_BEGUN: Duration = Duration::from_millis(50);
/// How the statement begins that changes a rollout.
const CHANGE_ROLLOUT: &str = "UPDATE rollout SET";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The call of the operator checks the candidate.
    Check,
    /// The call of the operator stores the rollout.
    Start,
    Shadow,
    Canary,
    /// The gateways store that the candidate serves a larger share of the users.
    NextShare,
    /// The gateways store that the guards roll back the candidate.
    RollBack,
    /// The call of the operator stores that the rollout is aborted.
    Abort,
    /// It is stored that the candidate becomes the pipeline. The gateways publish it.
    Publish,
    /// The candidate is published. The gateways store that it is promoted.
    Finish,
}

/// A step under way.
#[derive(Default)]
pub(super) struct UnderWay {
    /// Of the operator.
    pub(super) call: Option<JoinHandle<Result<Answer, SendError>>>,
    /// What holds up the step.
    lock: Option<MySqlConnection>,
}

impl UnderWay {
    /// Nothing holds up the step any more.
    pub(super) fn release(&mut self) {
        self.lock = None;
    }
}

impl Step {
    /// The shard picker of the candidate. It differs from the active one.
    pub(super) fn candidate(self, active: &str) -> &'static str {
        match self {
            // Never compiled before.
            Self::Check => "power-of-two",
            _ if active == "weighted" => "random",
            _ => "weighted",
        }
    }

    fn rollout(self, active: &str, ledger_seconds: u64) -> Value {
        let hooks = match self {
            Self::RollBack => json!({ "rate-shaper": { "policy": "lottery", "config": { "ratio": 0.5 } } }),
            _ => json!({ "shard-picker": { "policy": self.candidate(active) } }),
        };
        // A gateway that loads the candidate slowly must not find that it is to be rolled back: it would not take part at
        // all. The other one needs 6 s for these decisions.
        let decisions_min = if self == Self::RollBack { 300 } else { 20 };
        // On a busy machine, a few calls may be slow or fail.
        let guards = json!({
            "decisionsMin": decisions_min, "failures": 1, "fallbacks": 1, "spread": 1, "callP99Ratio": 1000,
            "ledgerSeconds": ledger_seconds,
        });
        let mut rollout = json!({ "hooks": hooks, "guards": guards });
        if self == Self::Canary {
            rollout["canaryPercent"] = json!(50);
        }
        if self == Self::NextShare {
            rollout["shadow"] = json!(false);
            rollout["auto"] = json!({ "percents": [20, 50], "seconds": 1, "decisions": 20 });
        }
        rollout
    }
}

impl Pair {
    /// Leads a new rollout into a step.
    pub(super) async fn enter(&self, step: Step, before: &View) -> UnderWay {
        let rollout = step.rollout(&before.picker, self.ledger_seconds);
        match step {
            Step::Check => {
                // Otherwise a test that is not scheduled for a while would come after the end of the call.
                let lock = self.cluster.lock("SELECT * FROM rollout").await;
                let call = self.call("/admin/rollouts", &rollout);
                tokio::time::sleep(CHECKS_BEGUN).await;
                UnderWay { call: Some(call), lock: Some(lock) }
            }
            Step::Start => {
                let lock = self.cluster.lock("SELECT * FROM rollout").await;
                let call = self.call("/admin/rollouts", &rollout);
                self.wait_for_sessions(1, "INSERT INTO rollout (").await;
                UnderWay { call: Some(call), lock: Some(lock) }
            }
            Step::Shadow | Step::Canary => {
                self.roll_out(&rollout).await;
                self.wait_until_followed().await;
                UnderWay::default()
            }
            Step::NextShare | Step::RollBack => {
                let id = self.roll_out(&rollout).await;
                let lock = self.lock_rollout(id).await;
                self.wait_until_followed().await;
                self.wait_for_sessions(2, CHANGE_ROLLOUT).await;
                UnderWay { call: None, lock: Some(lock) }
            }
            Step::Abort => {
                let id = self.roll_out(&rollout).await;
                self.wait_until_followed().await;
                let lock = self.lock_rollout(id).await;
                let call = self.call(&format!("/admin/rollouts/{id}/abort"), &json!({}));
                self.wait_for_sessions(1, CHANGE_ROLLOUT).await;
                UnderWay { call: Some(call), lock: Some(lock) }
            }
            Step::Publish => {
                let id = self.roll_out(&rollout).await;
                UnderWay { call: None, lock: Some(self.promote_and_hold(id).await) }
            }
            Step::Finish => {
                let id = self.roll_out(&rollout).await;
                let publishing = self.promote_and_hold(id).await;
                let lock = self.lock_rollout(id).await;
                drop(publishing);
                self.wait_for_sessions(2, CHANGE_ROLLOUT).await;
                UnderWay { call: None, lock: Some(lock) }
            }
        }
    }

    /// Starts a call of the operator.
    fn call(&self, path: &str, body: &Value) -> JoinHandle<Result<Answer, SendError>> {
        let operator = Arc::clone(&self.called().operator);
        let request = post(path, body.to_string());
        tokio::spawn(async move { operator.send(request).await })
    }

    /// Returns the number of the rollout.
    async fn roll_out(&self, rollout: &Value) -> u64 {
        let started = self.called().operator.post("/admin/rollouts", rollout.to_string()).await;
        assert_eq!(started.status, 201, "{started}");
        started.json()["id"].as_u64().expect("a number")
    }

    /// Promotes a candidate. Both gateways wait for the lock before they publish it.
    async fn promote_and_hold(&self, id: u64) -> MySqlConnection {
        self.wait_until_followed().await;
        let lock = self.cluster.lock("SELECT * FROM policy_order").await;
        let promoted = self.called().operator.post(&format!("/admin/rollouts/{id}/promote"), "{}").await;
        assert_eq!(promoted.status, 200, "{promoted}");
        self.wait_for_sessions(2, "UPDATE policy_order").await;
        lock
    }

    async fn lock_rollout(&self, id: u64) -> MySqlConnection {
        self.cluster.lock(&format!("SELECT * FROM rollout WHERE id = {id}")).await
    }

    async fn wait_for_sessions(&self, expected: u64, statement: &str) {
        let waiting = async || (self.cluster.sessions_in(statement).await >= expected).then_some(());
        eventually(&format!("{expected} sessions are in `{statement}`"), PATIENCE, waiting).await;
    }

    async fn wait_until_followed(&self) {
        self.wait_until_running(1).await;
    }

    /// Until each gateway takes part in this number of rollouts.
    pub(super) async fn wait_until_running(&self, expected: u64) {
        for gateway in &self.cluster.gateways {
            let running = async || gateway.metrics().await.sum("sluice_rollouts_running", &[]) as u64;
            let is_so = async || (running().await == expected).then_some(());
            eventually(&format!("each gateway takes part in {expected} rollouts"), PATIENCE, is_so).await;
        }
    }
}
