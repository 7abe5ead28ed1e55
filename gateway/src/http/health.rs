//! `GET /livez` and `GET /readyz`, by Kubernetes' conventions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::counters::Counters;
use crate::coupon::GenerationNo;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::policy::Pipelines;

/// Whether a process can do its work.
pub struct Health {
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
    counters: Arc<dyn Counters>,
    /// Absent in a consumer.
    pipelines: OnceLock<Arc<Pipelines>>,
    draining: AtomicBool,
    failed_task: OnceLock<String>,
}

/// The body of `/readyz`: `ok`, or what is wrong, part by part.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    log: String,
    ledger: String,
    counters: String,
    tasks: String,
    draining: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<GenerationNo>,
}

impl Health {
    /// Healthy as long as the ports are.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, ledger: Arc<dyn Ledger>, counters: Arc<dyn Counters>) -> Self {
        Self {
            log,
            ledger,
            counters,
            pipelines: OnceLock::new(),
            draining: AtomicBool::new(false),
            failed_task: OnceLock::new(),
        }
    }

    /// Reports the generation that decides, too.
    pub fn decides_with(&self, pipelines: Arc<Pipelines>) {
        // Set once, by the one role that has pipelines.
        let _ = self.pipelines.set(pipelines);
    }

    /// Fails readiness because shutdown begins, so that load balancers send no new requests.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Fails readiness for good: a background task is gone.
    pub fn fail(&self, task: &str) {
        // The first failure is the one to look at.
        let _ = self.failed_task.set(task.to_owned());
    }

    async fn readiness(&self) -> Readiness {
        let log = self.log.ready();
        let ledger = self.ledger.ready().await.map_err(|error| error.to_string());
        let counters = self.counters.ready();
        let may_count = counters.is_ok() || self.counters.is_optional();
        let draining = self.draining.load(Ordering::Relaxed);
        let tasks = self.failed_task.get().map_or(Ok(()), |task| Err(format!("background task `{task}` failed")));
        let part = |check: Result<(), String>| check.err().unwrap_or_else(|| "ok".to_owned());
        Readiness {
            ready: log.is_ok() && ledger.is_ok() && may_count && tasks.is_ok() && !draining,
            log: part(log),
            ledger: part(ledger),
            counters: part(counters),
            tasks: part(tasks),
            draining,
            generation: self.pipelines.get().map(|pipelines| pipelines.current().number()),
        }
    }
}

pub(super) fn routes(health: Arc<Health>) -> Router {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health)
}

/// The process runs. Checks no dependency: a restart would not bring one back.
async fn livez() -> &'static str {
    "ok"
}

/// Whether a request sent here now would be accepted, and if not, why.
async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, Json<Readiness>) {
    let readiness = health.readiness().await;
    (if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}
