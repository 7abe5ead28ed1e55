//! `GET /coupon/issue/{requestId}`: how it ended, or how long the queue before it is.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::ApiState;
use super::error::Problem;
use crate::coupon::{CouponId, Offset, Outcome, PartitionNo, Reason, RequestId, ShardNo};
use crate::ledger::RecordedOutcome;

/// Nobody waits longer in one call; load balancers cut idle connections soon after.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
pub(super) struct StatusQuery {
    partition: Option<String>,
    offset: Option<String>,
    wait: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusBody {
    request_id: RequestId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon_id: Option<CouponId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_no: Option<ShardNo>,
    /// 1 is the next to be settled in its partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<jiff::Timestamp>,
}

/// The word for a state.
pub(super) fn word(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None => "PENDING",
        Some(Outcome::Issued { .. }) => "ISSUED",
        Some(Outcome::Rejected(_)) => "REJECTED",
    }
}

pub(super) async fn status(
    State(api): State<Arc<ApiState>>,
    request_id: Result<Path<String>, PathRejection>,
    asked: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Json<StatusBody>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "REQUEST_NOT_FOUND", "no such request");
    let Path(request_id) = request_id.map_err(|_| unknown())?;
    let request_id: RequestId = request_id.parse().map_err(|_| unknown())?;
    let Query(asked) = asked.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let told = asked.place()?;
    let deadline = Instant::now() + asked.wait.as_deref().map_or(Ok(Duration::ZERO), wait)?;
    loop {
        // The progress is read first: what it says is settled, the ledger knows.
        let place = told.or_else(|| remembered(&api, request_id));
        let position = place.and_then(|(partition, offset)| position(&api, partition, offset));
        if let Some(recorded) = api.ledger.outcome(request_id).await? {
            return Ok(Json(StatusBody::ended(request_id, recorded)));
        }
        let (Some((partition, offset)), Some(position)) = (place, position) else { return Err(unknown()) };
        let settled = tokio::time::timeout_at(deadline, api.progress.settled(partition, offset)).await;
        if settled.is_err() {
            return Ok(Json(StatusBody::pending(request_id, position)));
        }
    }
}

impl StatusQuery {
    /// Where the request stands, as its status URL says.
    fn place(&self) -> Result<Option<(PartitionNo, Offset)>, Problem> {
        let partition = number("partition", self.partition.as_deref())?.map(PartitionNo);
        Ok(partition.zip(number("offset", self.offset.as_deref())?))
    }
}

fn number<N: std::str::FromStr>(name: &str, text: Option<&str>) -> Result<Option<N>, Problem> {
    let parse =
        |text: &str| text.parse().map_err(|_| Problem::malformed(format!("{name}: expected a number, found `{text}`")));
    text.map(parse).transpose()
}

/// Where the request stands, as this gateway remembers.
fn remembered(api: &ApiState, request_id: RequestId) -> Option<(PartitionNo, Offset)> {
    api.admission.recent(request_id).map(|position| (position.partition, position.offset))
}

/// How many requests of its partition are settled until this one is; `None` when nothing waits there.
fn position(api: &ApiState, partition: PartitionNo, offset: Offset) -> Option<u64> {
    let next = api.progress.next_offset(partition);
    let waits = next <= offset && offset < api.log.end_offset(partition);
    waits.then(|| offset - next + 1)
}

fn wait(text: &str) -> Result<Duration, Problem> {
    let parsed = match text.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse().map(Duration::from_millis),
        None => text.strip_suffix('s').unwrap_or(text).parse().map(Duration::from_secs),
    };
    parsed
        .map(|wait| wait.min(WAIT_MAX))
        .map_err(|_| Problem::malformed(format!("wait: expected a time such as 10s or 500ms, found `{text}`")))
}

impl StatusBody {
    fn pending(request_id: RequestId, position: u64) -> Self {
        Self {
            request_id,
            status: word(None),
            reason: None,
            coupon_id: None,
            shard_no: None,
            position: Some(position),
            settled_at: None,
        }
    }

    fn ended(request_id: RequestId, recorded: RecordedOutcome) -> Self {
        let (reason, shard_no) = match recorded.outcome {
            Outcome::Issued { shard, .. } => (None, Some(shard)),
            Outcome::Rejected(reason) => (Some(reason), None),
        };
        Self {
            request_id,
            status: word(Some(recorded.outcome)),
            reason,
            coupon_id: recorded.coupon_id,
            shard_no,
            position: None,
            settled_at: jiff::Timestamp::from_millisecond(recorded.settled_at_ms).ok(),
        }
    }
}
