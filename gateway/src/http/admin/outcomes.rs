//! `GET /admin/coupons/{couponId}/outcomes`: all outcomes of a campaign, one JSON object a line.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::Problem;
use super::super::openapi::problems::{self, problems};
use super::super::state::ApiState;
use super::super::status::RequestState;
use super::coupons::{CAMPAIGN, campaign_not_found, parse_coupon};
use crate::coupon::{Arm, CouponId, GenerationNo, Offset, Outcome, PartitionNo, Reason, RequestId, ShardNo, UserId};
use crate::ledger::{Ledger, LedgerError, ListedOutcome};

/// Rows of one page: an export holds no more in memory.
const PAGE_ROWS: u32 = 1000;

/// One line of an export.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OutcomeLine {
    request_id: RequestId,
    coupon_id: CouponId,
    user_id: UserId,
    status: RequestState,
    /// Of a rejected request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The shard whose stock was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_no: Option<ShardNo>,
    /// Counts the user's grants of this coupon, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_no: Option<u32>,
    /// The shard that the policy picked.
    picked_shard_no: ShardNo,
    #[schema(value_type = u64)]
    generation: GenerationNo,
    /// `canary` if the canary of a rollout admitted the request, otherwise absent.
    #[serde(skip_serializing_if = "Arm::is_active")]
    arm: Arm,
    partition: PartitionNo,
    #[schema(value_type = u64)]
    offset: Offset,
    arrived_at: Option<jiff::Timestamp>,
    settled_at: Option<jiff::Timestamp>,
}

problems!(ExportProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN);

/// Export the outcomes
///
/// One JSON object a line. If the export fails on the way, the answer is cut short.
#[utoipa::path(
    get, path = "/admin/coupons/{couponId}/outcomes", tag = "campaigns", operation_id = "exportOutcomes",
    params(("couponId" = CouponId, Path)),
    responses(
        (status = 200, description = "All outcomes of the campaign.", body = OutcomeLine,
            content_type = "application/x-ndjson"),
        ExportProblems,
    )
)]
pub(in crate::http) async fn export(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
) -> Result<Response, Problem> {
    let coupon = parse_coupon(&coupon)?;
    if api.ledger.campaign(coupon).await?.is_none() {
        return Err(campaign_not_found(coupon));
    }
    let pages = stream::try_unfold(None, move |last| next_page(Arc::clone(&api.ledger), coupon, last));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response())
}

/// The lines of the next page, and the outcome after which the page after it begins. A failure cuts the answer short, so
/// that no client takes it for complete.
async fn next_page(
    ledger: Arc<dyn Ledger>,
    coupon: CouponId,
    last: Option<ListedOutcome>,
) -> Result<Option<(Bytes, Option<ListedOutcome>)>, LedgerError> {
    let page = ledger.outcomes(coupon, last.as_ref(), PAGE_ROWS).await;
    let page = page.inspect_err(|error| tracing::error!(%coupon, %error, "export cut short"))?;
    let Some(&last) = page.last() else { return Ok(None) };
    let mut lines = Vec::new();
    for listed in &page {
        serde_json::to_writer(&mut lines, &OutcomeLine::of(coupon, listed)).expect("numbers and strings are JSON");
        lines.push(b'\n');
    }
    Ok(Some((lines.into(), Some(last))))
}

impl OutcomeLine {
    fn of(coupon_id: CouponId, listed: &ListedOutcome) -> Self {
        let (reason, shard_no, grant_no) = match listed.outcome {
            Outcome::Issued { shard, grant_no } => (None, Some(shard), Some(grant_no)),
            Outcome::Rejected(reason) => (Some(reason), None, None),
        };
        Self {
            request_id: listed.request_id,
            coupon_id,
            user_id: listed.user_id,
            status: Some(listed.outcome).into(),
            reason,
            shard_no,
            grant_no,
            picked_shard_no: listed.picked_shard,
            generation: listed.generation,
            arm: listed.arm,
            partition: listed.partition,
            offset: listed.offset,
            arrived_at: jiff::Timestamp::from_millisecond(listed.arrived_at_ms).ok(),
            settled_at: jiff::Timestamp::from_millisecond(listed.settled_at_ms).ok(),
        }
    }
}
