//! `/admin/log`: which log the ledger settles, how far, and gaps that an operator gives up.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::error::Problem;
use super::super::json;
use super::super::openapi::problems::{self, problems};
use super::super::problem_type::{LEDGER_UNAVAILABLE, LOG_UNAVAILABLE, NOT_A_GAP};
use super::super::state::ApiState;
use crate::coupon::{GroupNo, LogId, Offset, PartitionNo, now_ms};
use crate::ledger::OffsetChange;
use crate::log::Gap;

/// Changes are rare; an operator looks at the latest.
const CHANGES_MAX: u32 = 100;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct LogBody {
    /// Identifies the log that the ledger settles.
    identity: Option<LogId>,
    partitions: Vec<PartitionBody>,
    /// Offsets that operators moved, the newest first.
    changes: Vec<ChangeBody>,
    /// Ledger groups whose database does not answer: their changes are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable_groups: Vec<GroupNo>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartitionBody {
    partition: PartitionNo,
    /// The first offset that is not settled.
    #[schema(value_type = u64)]
    next_offset: Offset,
    /// The offset of the next record to be appended.
    #[schema(value_type = u64)]
    end_offset: Offset,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChangeBody {
    #[serde(flatten)]
    change: OffsetChange,
    changed_at: Option<jiff::Timestamp>,
}

/// The range of a gap: `from` is missing, `to` is not.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SkipBody {
    partition: PartitionNo,
    #[schema(value_type = u64)]
    from: Offset,
    #[schema(value_type = u64)]
    to: Offset,
}

problems!(ShowProblems: problems::EVERY_CALL, problems::GUARDED, &[LEDGER_UNAVAILABLE]);
problems!(SkipProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON,
    &[NOT_A_GAP, LEDGER_UNAVAILABLE, LOG_UNAVAILABLE]);

/// Show the log
#[utoipa::path(
    get, path = "/admin/log", tag = "log", operation_id = "getLog",
    responses((status = 200, description = "How far each partition is settled.", body = LogBody), ShowProblems)
)]
pub(in crate::http) async fn show(State(api): State<Arc<ApiState>>) -> Result<Json<LogBody>, Problem> {
    let groups = (0..api.ledger.groups()).map(GroupNo);
    let identity = api.ledger.log_identity(GroupNo::FIRST).await?.map(|stored| stored.log_id);
    let partitions = (0..api.log.partitions()).map(PartitionNo).map(|partition| PartitionBody {
        partition,
        next_offset: api.progress.next_offset(partition),
        end_offset: api.log.end_offset(partition),
    });
    let read = join_all(groups.clone().map(|group| api.ledger.offset_changes(group, CHANGES_MAX))).await;
    let unavailable_groups = groups.zip(&read).filter(|(_, read)| read.is_err()).map(|(group, _)| group).collect();
    // Stable: the changes of a group keep their order.
    let mut changes: Vec<OffsetChange> = read.into_iter().filter_map(Result::ok).flatten().collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.changed_at_ms));
    changes.truncate(CHANGES_MAX as usize);
    let changes = changes
        .into_iter()
        .map(|change| ChangeBody { change, changed_at: jiff::Timestamp::from_millisecond(change.changed_at_ms).ok() });
    Ok(Json(LogBody { identity, partitions: partitions.collect(), changes: changes.collect(), unavailable_groups }))
}

/// Give up missing records
///
/// The process that settles the partition continues behind the gap.
#[utoipa::path(
    post, path = "/admin/log/skip", tag = "log", operation_id = "skipGap", request_body = SkipBody,
    responses((status = 200, description = "The gap is given up.", body = LogBody), SkipProblems)
)]
pub(in crate::http) async fn skip(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LogBody>, Problem> {
    let SkipBody { partition, from, to } = json::read(&headers, body).await?;
    if partition.0 >= api.log.partitions() {
        return Err(Problem::invalid("partition", format!("`partition`: the log has no partition {partition}")));
    }
    let gap = api.log.gap(partition, from).await?;
    if gap != Some(Gap::Missing { from, to }) || !api.ledger.skip(partition, from, to, now_ms()).await? {
        let settled = api.ledger.next_offset(partition).await?;
        let found = match api.log.gap(partition, settled).await? {
            Some(gap) => gap.explain(partition),
            None => format!("partition {partition} is settled up to offset {settled} and has no gap there"),
        };
        let detail = format!("[{from}, {to}) is not the gap at which settlement stopped: {found}");
        return Err(Problem::new(NOT_A_GAP, detail));
    }
    tracing::warn!(%partition, from, to, "missing records given up");
    show(State(api)).await
}
