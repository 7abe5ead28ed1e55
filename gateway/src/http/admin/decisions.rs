//! `/admin/decisions`: the decisions that this gateway recorded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::error::Problem;
use super::super::openapi::problems::{self, problems};
use super::super::problem_type::NOT_FOUND;
use super::super::state::ApiState;
use crate::coupon::{CouponId, RequestId};
use crate::decisions::{Cursor, Decision, Filter, Outcome, Reader, explain};

/// How often a client that follows gets what is new.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DecisionsQuery {
    /// Only of this coupon.
    #[param(value_type = Option<CouponId>)]
    coupon: Option<String>,
    /// Only of requests that arrived at this time or later.
    #[param(format = "date-time", example = "2026-12-24T00:00:00Z")]
    since: Option<String>,
    /// Only `accepted` or only `refused` requests.
    #[param(pattern = "^(accepted|refused)$")]
    outcome: Option<String>,
    /// `true`: begin with what is recorded from now on, and do not end.
    #[param(pattern = "^(true|false)$")]
    follow: Option<String>,
}

/// A recorded decision, and what it means.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Explained {
    /// Sentences.
    explanation: Vec<String>,
    decision: Decision,
}

problems!(DecisionsProblems: problems::EVERY_CALL, problems::GUARDED);
problems!(DecisionProblems: problems::EVERY_CALL, problems::GUARDED, &[NOT_FOUND]);

/// List recorded decisions
///
/// What the policies were given and what they returned, for the sample of the requests that this gateway recorded. One
/// JSON object a line, in the order in which they were recorded.
#[utoipa::path(
    get, path = "/admin/decisions", tag = "policies", operation_id = "listDecisions", params(DecisionsQuery),
    responses(
        (status = 200, description = "The decisions.", body = Decision, content_type = "application/x-ndjson"),
        DecisionsProblems,
    )
)]
pub(in crate::http) async fn list(
    State(api): State<Arc<ApiState>>,
    query: Result<Query<DecisionsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let (filter, follows) = (query.filter()?, query.follows()?);
    let reader = api.decisions.clone();
    let cursor = if follows { end(reader.clone()).await? } else { Cursor::default() };
    let parts = stream::try_unfold(cursor, move |cursor| next_part(reader.clone(), filter, cursor, follows));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(parts)).into_response())
}

/// Explain a decision
///
/// Why a request was shaped, refused or sent to its shard, if this gateway recorded it.
#[utoipa::path(
    get, path = "/admin/decisions/{requestId}", tag = "policies", operation_id = "explainDecision",
    params(("requestId" = RequestId, Path)),
    responses((status = 200, description = "The decision, in words too.", body = Explained), DecisionProblems)
)]
pub(in crate::http) async fn show(
    State(api): State<Arc<ApiState>>,
    Path(request_id): Path<String>,
) -> Result<Json<Explained>, Problem> {
    let detail = "no decision is recorded for this request: ask the gateway that decided it, and see decisions.sample";
    let unknown = || Problem::new(NOT_FOUND, detail);
    let request_id: RequestId = request_id.parse().map_err(|_| unknown())?;
    let reader = api.decisions.clone();
    let found = blocking(move || reader.find(request_id)).await.map_err(|error| unreadable(&error))?;
    let decision = found.ok_or_else(unknown)?;
    Ok(Json(Explained { explanation: explain(&decision), decision }))
}

impl DecisionsQuery {
    fn filter(&self) -> Result<Filter, Problem> {
        let coupon = parse(self.coupon.as_deref(), |text| text.parse().ok(), "coupon: expected the id of a coupon")?;
        let since = parse(
            self.since.as_deref(),
            |text| text.parse::<jiff::Timestamp>().ok(),
            "since: expected a time such as 2026-12-24T00:00:00Z",
        )?;
        let outcome = |text: &str| match text {
            "accepted" => Some(Outcome::Accepted),
            "refused" => Some(Outcome::Refused),
            _ => None,
        };
        let outcome = parse(self.outcome.as_deref(), outcome, "outcome: expected accepted or refused")?;
        Ok(Filter { coupon, since_ms: since.map(jiff::Timestamp::as_millisecond), outcome })
    }

    fn follows(&self) -> Result<bool, Problem> {
        let follows = parse(self.follow.as_deref(), |text| text.parse().ok(), "follow: expected true or false")?;
        Ok(follows.unwrap_or(false))
    }
}

fn parse<T>(text: Option<&str>, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Result<Option<T>, Problem> {
    text.map(|text| parse(text).ok_or_else(|| Problem::malformed(format!("{expected}, found `{text}`")))).transpose()
}

/// Where the decisions of the future begin.
async fn end(reader: Reader) -> Result<Cursor, Problem> {
    blocking(move || reader.end()).await.map_err(|error| unreadable(&error))
}

/// The next lines, and where the part after them begins. A failure cuts the answer short, so that no client takes it for
/// complete.
async fn next_part(
    reader: Reader,
    filter: Filter,
    mut cursor: Cursor,
    follows: bool,
) -> io::Result<Option<(Bytes, Cursor)>> {
    loop {
        let (from, reader) = (cursor.clone(), reader.clone());
        let (lines, next) = blocking(move || reader.next(&filter, &from))
            .await
            .inspect_err(|error| tracing::error!(%error, "list of decisions cut short"))?;
        let is_at_end = next == cursor;
        cursor = next;
        if !lines.is_empty() {
            return Ok(Some((lines.into(), cursor)));
        }
        match (is_at_end, follows) {
            (true, false) => return Ok(None),
            (true, true) => tokio::time::sleep(FOLLOW_EVERY).await,
            (false, _) => {}
        }
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

fn unreadable(error: &io::Error) -> Problem {
    tracing::error!(%error, "recorded decisions not read");
    Problem::internal()
}
