//! `GET /admin/coupons/{couponId}/outcomes`: all outcomes of a campaign, one JSON object a line.
//!
//! Outcomes are deleted some time after the campaign closed, perhaps while they are exported. An export that lacks some
//! for that reason says so, or is cut short.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::Problem;
use super::super::openapi::problems::{self, problems};
use super::super::state::ApiState;
use super::super::status::RequestState;
use super::coupons::{CAMPAIGN, campaign_not_found, parse_coupon};
use crate::coupon::{
    Arm, CouponId, GenerationNo, Offset, Outcome, PartitionNo, Reason, RequestId, ShardNo, Terms, UserId,
};
use crate::ledger::{Ledger, LedgerError, ListedOutcome};

/// On an export that began after outcomes of the campaign were deleted.
const OUTCOMES_DELETED: HeaderName = HeaderName::from_static("sluice-outcomes-deleted");
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
    /// Of an issued request.
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Terms>,
}

problems!(ExportProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN);

/// Export the outcomes
///
/// One JSON object a line. If the export fails on the way, or outcomes of the campaign are deleted meanwhile, the answer
/// is cut short.
#[utoipa::path(
    get, path = "/admin/coupons/{couponId}/outcomes", tag = "campaigns", operation_id = "exportOutcomes",
    params(("couponId" = CouponId, Path)),
    responses(
        (status = 200, description = "All outcomes of the campaign.", body = OutcomeLine,
            content_type = "application/x-ndjson",
            headers(("sluice-outcomes-deleted" = bool, description = "`true` if outcomes of the campaign were deleted \
                before: the export has only those that are left. Otherwise absent.")),
        ),
        ExportProblems,
    )
)]
pub(in crate::http) async fn export(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
) -> Result<Response, Problem> {
    let coupon = parse_coupon(&coupon)?;
    let ledger = Arc::clone(&api.ledger);
    let outcomes_deleted = ledger.outcomes_deleted(coupon).await?.ok_or_else(|| campaign_not_found(coupon))?;
    let export = Export { ledger, coupon, outcomes_deleted, last: None };
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    let outcomes_deleted = outcomes_deleted.then_some([(OUTCOMES_DELETED, "true")]);
    let body = Body::from_stream(stream::try_unfold(export, Export::next_page));
    Ok((content_type, outcomes_deleted, body).into_response())
}

/// An export on its way.
struct Export {
    ledger: Arc<dyn Ledger>,
    coupon: CouponId,
    /// As the header says.
    outcomes_deleted: bool,
    /// The outcome after which the next page begins.
    last: Option<ListedOutcome>,
}

/// Why an export is cut short.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("outcomes were deleted after the export began")]
    OutcomesDeleted,
}

impl Export {
    /// The lines of the next page, and what follows them. A failure cuts the answer short, so that no client takes it for
    /// complete.
    async fn next_page(mut self) -> Result<Option<(Bytes, Self)>, ExportError> {
        let lines = self.lines().await;
        let lines = lines.inspect_err(|error| tracing::error!(coupon = %self.coupon, %error, "export cut short"))?;
        Ok(lines.map(|lines| (lines, self)))
    }

    async fn lines(&mut self) -> Result<Option<Bytes>, ExportError> {
        let page = self.ledger.outcomes(self.coupon, self.last.as_ref(), PAGE_ROWS).await?;
        let Some(&last) = page.last() else { return self.end().await };
        let issued = page.iter().filter(|listed| matches!(listed.outcome, Outcome::Issued { .. }));
        let issued: Vec<RequestId> = issued.map(|listed| listed.request_id).collect();
        let mut terms = self.ledger.terms(self.coupon, &issued).await?;
        let mut lines = Vec::new();
        for listed in &page {
            let line = OutcomeLine::of(self.coupon, listed, terms.remove(&listed.request_id));
            serde_json::to_writer(&mut lines, &line).expect("numbers and strings are JSON");
            lines.push(b'\n');
        }
        self.last = Some(last);
        Ok(Some(lines.into()))
    }

    /// The first deletion is marked in its own transaction, so without a mark nothing was deleted before now.
    async fn end(&self) -> Result<Option<Bytes>, ExportError> {
        let outcomes_deleted = self.ledger.outcomes_deleted(self.coupon).await?.unwrap_or_default();
        if outcomes_deleted && !self.outcomes_deleted { Err(ExportError::OutcomesDeleted) } else { Ok(None) }
    }
}

impl OutcomeLine {
    fn of(coupon_id: CouponId, listed: &ListedOutcome, terms: Option<Terms>) -> Self {
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
            terms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::contract::{PARTITION, campaign, coupon, settled};
    use crate::ledger::sqlite::Sqlite;

    #[tokio::test]
    async fn a_deletion_during_an_export_cuts_it_short() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.db");
        let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens"));
        ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
        let rejected = settled(1, 1, Outcome::Rejected(Reason::UserLimit));
        let mut transaction = ledger.begin(PARTITION).await.expect("begins");
        transaction.insert_outcomes(std::slice::from_ref(&rejected)).await.expect("inserts");
        transaction.commit().await.expect("commits");
        let export = |outcomes_deleted| {
            let ledger = Arc::clone(&ledger);
            Export { ledger, coupon: coupon(), outcomes_deleted, last: None }
        };
        let (_, complete) = export(false).next_page().await.expect("reads").expect("a page");
        let (_, overtaken) = export(false).next_page().await.expect("reads").expect("a page");
        assert!(complete.next_page().await.expect("reads").is_none());
        ledger.delete_outcomes(coupon(), &[rejected.request_id].into()).await.expect("deletes");
        assert!(matches!(overtaken.next_page().await, Err(ExportError::OutcomesDeleted)));
        assert!(export(true).next_page().await.expect("reads").is_none(), "its header says it");
    }
}
