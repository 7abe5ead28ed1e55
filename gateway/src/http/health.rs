//! `GET /livez` and `GET /readyz`, as Kubernetes probes them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemDetails;
use super::openapi::problems::{self, problems};
use crate::counters::Counters;
use crate::coupon::{GenerationNo, GroupNo, PartitionNo};
use crate::ledger::Ledger;
use crate::log::Log;
use crate::policy::{NotLoaded, Pipelines, Scope};
use crate::settlement::Progress;

/// A probe of Kubernetes waits one second.
const LEDGER_ANSWER_MAX: Duration = Duration::from_millis(500);

/// Whether the process can do its work.
pub struct Health {
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
    counters: Arc<dyn Counters>,
    progress: Arc<Progress>,
    /// Absent in a consumer.
    pipelines: OnceLock<Arc<Pipelines>>,
    draining: CancellationToken,
    failed_task: OnceLock<String>,
}

/// Who may see why a part is not ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Sees no error of a database or a broker.
    Public,
    Operator,
}

/// Each part is `ok`, or the reason why it is not ready: on the public listener `unavailable`.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    log: String,
    ledger: String,
    counters: String,
    settlement: String,
    tasks: String,
    /// Shutdown has begun.
    draining: bool,
    /// The active generation of the pipeline. Absent in a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    generation: Option<GenerationNo>,
    /// `ok`, or why the newest generation in the ledger is not the active one. The process is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<String>,
}

impl Health {
    /// Ready as long as the ports are ready and no partition stopped at a gap. One ledger group that answers is enough. A
    /// process that accepts requests is also ready without any: what the log accepts is durable, and is settled once the ledger is back. Otherwise all
    /// gateways would leave the load balancer together.
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        ledger: Arc<dyn Ledger>,
        counters: Arc<dyn Counters>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            log,
            ledger,
            counters,
            progress,
            pipelines: OnceLock::new(),
            draining: CancellationToken::new(),
            failed_task: OnceLock::new(),
        }
    }

    /// Adds the current generation to `/readyz`.
    pub fn set_pipelines(&self, pipelines: Arc<Pipelines>) {
        // Only the role `gateway` has pipelines, and it calls this once.
        let _ = self.pipelines.set(pipelines);
    }

    /// Fails readiness at the start of shutdown, so that load balancers send no new requests.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Resolves at the start of shutdown.
    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Fails readiness until the process ends, because a background task failed.
    pub fn fail(&self, task: &str) {
        // Later failures are often consequences of the first.
        let _ = self.failed_task.set(task.to_owned());
    }

    async fn readiness(&self, audience: Audience) -> Readiness {
        let log = self.log.ready().map_err(|reason| reason.to_string());
        let groups = self.ledger_readiness().await;
        let a_group_is_ready = groups.iter().any(Result::is_ok);
        let ledger = groups.into_iter().find(Result::is_err).unwrap_or(Ok(()));
        let accepts_requests = self.pipelines.get().is_some();
        let counters = self.counters.ready();
        let counters_suffice = counters.is_ok() || self.counters.is_optional();
        let settlement = self.progress.problem().map_or(Ok(()), Err);
        let draining = self.draining.is_cancelled();
        let tasks = self.failed_task.get().map_or(Ok(()), |task| Err(format!("background task `{task}` failed")));
        let part = |check: Result<(), String>| match check {
            Ok(()) => "ok".to_owned(),
            Err(_) if audience == Audience::Public => "unavailable".to_owned(),
            Err(reason) => reason,
        };
        Readiness {
            ready: log.is_ok()
                && (a_group_is_ready || accepts_requests)
                && counters_suffice
                && settlement.is_ok()
                && tasks.is_ok()
                && !draining,
            log: if log.is_ok() && audience == Audience::Operator { partly_ready(&*self.log) } else { part(log) },
            ledger: part(ledger),
            counters: part(counters),
            settlement: part(settlement),
            tasks: part(tasks),
            draining,
            generation: self.pipelines.get().map(|pipelines| pipelines.current().number()),
            pipeline: self.pipelines.get().map(|pipelines| part(newest_is_active(pipelines))),
        }
    }

    /// Of each ledger group.
    async fn ledger_readiness(&self) -> Vec<Result<(), String>> {
        join_all((0..self.ledger.groups()).map(|group| self.group_readiness(GroupNo(group)))).await
    }

    async fn group_readiness(&self, group: GroupNo) -> Result<(), String> {
        let problem = match tokio::time::timeout(LEDGER_ANSWER_MAX, self.ledger.ready(group)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} ms", LEDGER_ANSWER_MAX.as_millis()),
        };
        Err(if self.ledger.groups() == 1 { problem } else { format!("ledger group {group}: {problem}") })
    }
}

fn newest_is_active(pipelines: &Pipelines) -> Result<(), String> {
    let not_loaded = pipelines.all_not_loaded();
    let Some((scope, NotLoaded { generation, error })) = not_loaded.first_key_value() else { return Ok(()) };
    let others = if not_loaded.len() == 1 { String::new() } else { format!("; and {} others", not_loaded.len() - 1) };
    Err(match scope {
        Scope::Default => format!("generation {generation} is not loaded: {error}{others}"),
        Scope::Coupon(coupon) => format!("generation {generation} of coupon {coupon} is not loaded: {error}{others}"),
    })
}

/// Names the partitions that accept no records while others do.
fn partly_ready(log: &dyn Log) -> String {
    let refuse = |partition| Some((partition, log.accepts(partition).err()?));
    let refusing: Vec<_> = (0..log.partitions()).map(PartitionNo).filter_map(refuse).collect();
    let Some((_, reason)) = refusing.first() else { return "ok".to_owned() };
    let partitions: Vec<_> = refusing.iter().map(|(partition, _)| partition.to_string()).collect();
    format!("partitions that accept no records: {} ({reason})", partitions.join(", "))
}

pub(super) fn calls() -> OpenApiRouter<(Arc<Health>, Audience)> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz))
}

problems!(ProbeProblems: problems::EVERY_CALL);

/// Liveness
///
/// Checks no dependency: a restart of the process would not repair one.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "isAlive", security(()),
    responses((status = 200, description = "The process answers.", body = String), ProbeProblems)
)]
async fn livez() -> &'static str {
    "ok"
}

/// Readiness
///
/// Whether load balancers should send requests to this process.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "isReady", security(()),
    responses(
        ProbeProblems,
        (status = 200, description = "Ready.", body = Readiness),
        (status = 503, description = "Not ready, or shutdown has begun; or, as a problem, `OVERLOADED`.", content(
            (Readiness = "application/json"),
            (ProblemDetails<'_> = "application/problem+json"),
        )),
    )
)]
async fn readyz(State((health, audience)): State<(Arc<Health>, Audience)>) -> (StatusCode, Json<Readiness>) {
    let readiness = health.readiness(audience).await;
    (if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}
