//! `GET /livez` and `GET /readyz`, as Kubernetes asks them.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Shared;

/// The process runs; it asks nobody else.
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// Whether a request sent here now would be accepted, and if not, why.
pub(super) async fn readyz(State(gateway): Shared) -> (StatusCode, Json<Value>) {
    let log = gateway.admission.log.ready();
    let ledger = gateway.admission.ledger.ready().await.map_err(|error| error.to_string());
    let counters = gateway.admission.counters.ready();
    let may_count = counters.is_ok() || gateway.admission.counters.is_optional();
    let draining = gateway.draining.load(Ordering::Relaxed);
    let ready = log.is_ok() && ledger.is_ok() && may_count && !draining;
    let word = |check: Result<(), String>| check.err().unwrap_or_else(|| "ok".to_owned());
    let body = json!({
        "ready": ready,
        "log": word(log),
        "ledger": word(ledger),
        "counters": word(counters),
        "draining": draining,
        "generation": gateway.admission.pipelines.current().number(),
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}
