//! `GET /coupon/issue/{requestId}`: the outcome, or the position in the queue.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::error::Problem;
use super::openapi::problems::{self, problems};
use super::problem_type::{LEDGER_UNAVAILABLE, REQUEST_NOT_FOUND};
use super::state::ApiState;
use crate::coupon::{Arm, CouponId, Offset, Outcome, PartitionNo, Reason, RequestId, ShardNo};
use crate::ledger::RecordedOutcome;
use crate::log::Log;

/// Load balancers close connections that are idle for about a minute.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// The log partition, as in the `statusUrl`.
    #[param(pattern = "^[0-9]+$")]
    partition: Option<String>,
    /// The offset in the partition, as in the `statusUrl`.
    #[param(pattern = "^[0-9]+$")]
    offset: Option<String>,
    /// How long to wait for the outcome, such as `10s` or `500ms`. At most 30 seconds.
    #[param(pattern = "^[0-9]+(s|ms)?$", example = "10s")]
    wait: Option<String>,
}

/// The state of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum RequestState {
    /// Accepted, and not settled yet.
    Pending,
    /// The user has a coupon.
    Issued,
    Rejected,
}

impl From<Option<Outcome>> for RequestState {
    fn from(outcome: Option<Outcome>) -> Self {
        match outcome {
            None => Self::Pending,
            Some(Outcome::Issued { .. }) => Self::Issued,
            Some(Outcome::Rejected(_)) => Self::Rejected,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusBody {
    request_id: RequestId,
    status: RequestState,
    /// Of a rejected request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon_id: Option<CouponId>,
    /// The shard whose stock was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_no: Option<ShardNo>,
    /// Of an outcome: `canary` if the canary of a rollout admitted the request, otherwise absent.
    #[serde(skip_serializing_if = "Arm::is_active")]
    arm: Arm,
    /// 1 is the next record to be settled in its partition. Absent while the partition cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<jiff::Timestamp>,
}

problems!(StatusProblems: problems::EVERY_CALL, &[REQUEST_NOT_FOUND, LEDGER_UNAVAILABLE]);

/// Ask for the outcome
///
/// Any gateway answers. Call the whole `statusUrl` of the 202 answer: from the partition and the offset a gateway tells a
/// pending request from an unknown one.
#[utoipa::path(
    get, path = "/coupon/issue/{requestId}", tag = "coupons", operation_id = "getOutcome",
    params(("requestId" = RequestId, Path), StatusQuery),
    responses(
        (status = 200, description = "The outcome, or `PENDING` with the position in the queue.", body = StatusBody),
        StatusProblems,
    )
)]
pub(super) async fn status(
    State(api): State<Arc<ApiState>>,
    request_id: Result<Path<String>, PathRejection>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Json<StatusBody>, Problem> {
    let unknown = || Problem::new(REQUEST_NOT_FOUND, "unknown request: use the whole statusUrl of the 202 answer");
    let Path(request_id) = request_id.map_err(|_| unknown())?;
    let request_id: RequestId = request_id.parse().map_err(|_| unknown())?;
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let in_query = query.position()?;
    let deadline = Instant::now() + query.wait.as_deref().map_or(Ok(Duration::ZERO), wait)?;
    loop {
        // Read progress before the ledger: a request that settles in between is then found in the ledger.
        let record = in_query.or_else(|| recent(&api, request_id));
        let next = record.map_or(0, |(partition, _)| api.progress.next_offset(partition));
        let outcome = api.admission.outcome(request_id, record.map(|(partition, _)| partition)).await;
        let (partition, offset) = match (outcome, record.filter(|(_, offset)| next <= *offset)) {
            (Ok(Some(recorded)), _) => return Ok(Json(StatusBody::settled(request_id, recorded))),
            // Nobody settled it before the ledger became unreachable, as far as this process knows.
            (Ok(None) | Err(_), Some(unsettled)) => unsettled,
            (Ok(None), None) => return Err(unknown()),
            (Err(error), None) => return Err(Problem::ledger_unavailable(request_id, &error)),
        };
        let end = end_offset(&*api.log, partition, offset).await;
        if end.is_some_and(|end| end <= offset) {
            return Err(unknown());
        }
        let position = end.map(|_| offset - next + 1);
        let settled = tokio::time::timeout_at(deadline, api.progress.settled(partition, offset));
        let is_settled = tokio::select! {
            settled = settled => settled.is_ok(),
            () = api.health.draining() => false,
        };
        if !is_settled {
            return Ok(Json(StatusBody::pending(request_id, position)));
        }
    }
}

impl StatusQuery {
    /// The log position in the status URL.
    fn position(&self) -> Result<Option<(PartitionNo, Offset)>, Problem> {
        let partition = number("partition", self.partition.as_deref(), u32::MAX)?.map(PartitionNo);
        Ok(partition.zip(number("offset", self.offset.as_deref(), Offset::MAX)?))
    }
}

/// A number that is too large for its type is `max`, which no record has.
fn number<N: FromStr>(name: &str, text: Option<&str>, max: N) -> Result<Option<N>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match digits(text) {
        Some(digits) => Ok(Some(digits.parse().unwrap_or(max))),
        None => Err(Problem::malformed(format!("{name}: expected an integer of at least 0, found `{text}`"))),
    }
}

/// The log position that this gateway still remembers.
fn recent(api: &ApiState, request_id: RequestId) -> Option<(PartitionNo, Offset)> {
    api.admission.recent_position(request_id).map(|position| (position.partition, position.offset))
}

/// The end offset of a partition. The known one may be older than a record that another gateway appended; it is then
/// read again. `None` if it cannot be read: whether the record exists is not known.
async fn end_offset(log: &dyn Log, partition: PartitionNo, offset: Offset) -> Option<Offset> {
    let known = log.end_offset(partition);
    if offset < known { Some(known) } else { log.fresh_end_offset(partition).await }
}

/// Text that is a number without a sign. Parsing a number would also accept `+`.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn wait(text: &str) -> Result<Duration, Problem> {
    let (number, unit): (_, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(milliseconds) => (milliseconds, Duration::from_millis),
        None => (text.strip_suffix('s').unwrap_or(text), Duration::from_secs),
    };
    // A number that is too large for its type is beyond the maximum in any case.
    let wait = digits(number).map(|number| unit(number.parse().unwrap_or(u64::MAX)).min(WAIT_MAX));
    wait.ok_or_else(|| Problem::malformed(format!("wait: expected a duration such as 10s or 500ms, found `{text}`")))
}

impl StatusBody {
    fn pending(request_id: RequestId, position: Option<u64>) -> Self {
        Self {
            request_id,
            status: RequestState::Pending,
            reason: None,
            coupon_id: None,
            shard_no: None,
            arm: Arm::Active,
            position,
            settled_at: None,
        }
    }

    fn settled(request_id: RequestId, recorded: RecordedOutcome) -> Self {
        let (reason, shard_no) = match recorded.outcome {
            Outcome::Issued { shard, .. } => (None, Some(shard)),
            Outcome::Rejected(reason) => (Some(reason), None),
        };
        Self {
            request_id,
            status: Some(recorded.outcome).into(),
            reason,
            coupon_id: recorded.coupon_id,
            shard_no,
            arm: recorded.arm,
            position: None,
            settled_at: jiff::Timestamp::from_millisecond(recorded.settled_at_ms).ok(),
        }
    }
}
