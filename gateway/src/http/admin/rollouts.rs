//! `/admin/rollouts`: starts rollouts, shows what their arms decide, changes and ends them.

mod body;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use self::body::{AbortBody, CanaryBody, NewRolloutBody};
use self::view::{MeasuredRolloutBody, RolloutBody, RolloutLine};
use super::super::error::Problem;
use super::super::json;
use super::super::openapi::problems::{self, problems};
use super::super::problem_type::{
    CLOSED, COUPON_NOT_FOUND, LEDGER_UNAVAILABLE, PIPELINE_CHANGED, POLICY_REFUSED, POLICY_UNAVAILABLE, ProblemType,
    ROLLOUT_NOT_FOUND, ROLLOUT_OVER, ROLLOUT_RUNNING,
};
use super::super::state::ApiState;
use super::Caller;
use super::coupon_pipelines::{check_campaign, check_not_closed};
use crate::rollout::{RolloutError, RolloutId};

/// What a change of a rollout may be answered.
const CHANGE: &[ProblemType] = &[ROLLOUT_NOT_FOUND, ROLLOUT_OVER, PIPELINE_CHANGED, LEDGER_UNAVAILABLE];

problems!(StartProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON,
    &[COUPON_NOT_FOUND, CLOSED, ROLLOUT_RUNNING, PIPELINE_CHANGED, POLICY_REFUSED, LEDGER_UNAVAILABLE, POLICY_UNAVAILABLE]);
problems!(ListProblems: problems::EVERY_CALL, problems::GUARDED, &[LEDGER_UNAVAILABLE]);
problems!(ShowProblems: problems::EVERY_CALL, problems::GUARDED, &[ROLLOUT_NOT_FOUND, LEDGER_UNAVAILABLE]);
problems!(ChangeProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON, CHANGE);
problems!(PromoteProblems: problems::EVERY_CALL, problems::GUARDED, &[CLOSED], CHANGE);

/// Start a rollout
///
/// The candidate is checked as a change of the pipeline is, and decides about recorded requests again. Then it is a
/// shadow, or serves a share of the users.
#[utoipa::path(
    post, path = "/admin/rollouts", tag = "rollouts", operation_id = "startRollout", request_body = NewRolloutBody,
    responses(
        (status = 201, description = "The rollout is running.", body = RolloutBody,
            headers(("Location" = String, description = "Where the rollout is shown.")),
            links(("rollout" = (operation_id = "getRollout", parameters(("id" = "$response.body#/id")))))
        ),
        StartProblems,
    )
)]
pub(in crate::http) async fn start(
    State(api): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RolloutBody>), Problem> {
    let body: NewRolloutBody = json::read(&headers, body).await?;
    let new = body.check()?;
    if let Some(coupon) = new.coupon_id {
        check_not_closed(&api, check_campaign(&api, coupon).await?)?;
    }
    let rollout = api.rollouts.start(new, caller.name()).await?;
    let location = [(header::LOCATION, format!("/admin/rollouts/{}", rollout.id))];
    Ok((StatusCode::CREATED, location, Json(rollout.into())))
}

/// List the rollouts
#[utoipa::path(
    get, path = "/admin/rollouts", tag = "rollouts", operation_id = "listRollouts",
    responses((status = 200, description = "Those that run, and the newest 50. Newest first.", body = Vec<RolloutLine>), ListProblems)
)]
pub(in crate::http) async fn list(State(api): State<Arc<ApiState>>) -> Result<Json<Vec<RolloutLine>>, Problem> {
    let rollouts = api.rollouts.list().await?;
    Ok(Json(rollouts.into_iter().map(|rollout| RolloutBody::from(rollout).line).collect()))
}

/// Show a rollout
///
/// With what both arms have decided on all gateways since its last step, and what the guards find.
#[utoipa::path(
    get, path = "/admin/rollouts/{id}", tag = "rollouts", operation_id = "getRollout", params(("id" = u64, Path)),
    responses((status = 200, description = "The rollout.", body = MeasuredRolloutBody), ShowProblems)
)]
pub(in crate::http) async fn show(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<MeasuredRolloutBody>, Problem> {
    Ok(Json(api.rollouts.get(parse_id(&id)?).await?.into()))
}

/// Change the share of the users
///
/// A larger share keeps the users of a smaller one. What the arms have decided is counted from 0 again.
#[utoipa::path(
    patch, path = "/admin/rollouts/{id}", tag = "rollouts", operation_id = "changeRollout", params(("id" = u64, Path)),
    request_body = CanaryBody,
    responses((status = 200, description = "The rollout now.", body = RolloutBody), ChangeProblems)
)]
pub(in crate::http) async fn change(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RolloutBody>, Problem> {
    let CanaryBody { canary_percent } = json::read(&headers, body).await?;
    Ok(Json(api.rollouts.set_canary(parse_id(&id)?, canary_percent, caller.name()).await?.into()))
}

/// Promote a candidate
///
/// It becomes the pipeline of all users, whatever the guards find. A gateway publishes it within seconds.
#[utoipa::path(
    post, path = "/admin/rollouts/{id}/promote", tag = "rollouts", operation_id = "promoteRollout",
    params(("id" = u64, Path)),
    responses((status = 200, description = "The candidate is being promoted.", body = RolloutBody), PromoteProblems)
)]
pub(in crate::http) async fn promote(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RolloutBody>, Problem> {
    let id = parse_id(&id)?;
    if let Some(coupon) = api.rollouts.get(id).await?.rollout.scope.coupon() {
        check_not_closed(&api, coupon)?;
    }
    Ok(Json(api.rollouts.promote(id, caller.name()).await?.into()))
}

/// Abort a rollout
///
/// The active policies decide about all users again.
#[utoipa::path(
    post, path = "/admin/rollouts/{id}/abort", tag = "rollouts", operation_id = "abortRollout",
    params(("id" = u64, Path)), request_body = Option<AbortBody>,
    responses((status = 200, description = "The rollout is over.", body = RolloutBody), ChangeProblems)
)]
pub(in crate::http) async fn abort(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RolloutBody>, Problem> {
    let body: Option<AbortBody> = json::read_optional(&headers, body).await?;
    let reason = body.map(AbortBody::check).transpose()?.flatten();
    Ok(Json(api.rollouts.abort(parse_id(&id)?, reason.as_deref(), caller.name()).await?.into()))
}

fn parse_id(text: &str) -> Result<RolloutId, Problem> {
    text.parse().map_err(|_| Problem::new(ROLLOUT_NOT_FOUND, format!("no rollout has the number {text}")))
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        let detail = error.to_string();
        match error {
            RolloutError::Invalid(message) => {
                let (field, _) = message.split_once(':').unwrap_or_default();
                Self::invalid(field, detail)
            }
            RolloutError::AlreadyRunning { .. } => Self::new(ROLLOUT_RUNNING, detail),
            RolloutError::NotFound(_) | RolloutError::Unreadable(_) => Self::new(ROLLOUT_NOT_FOUND, detail),
            RolloutError::Over { .. } | RolloutError::Promoting(_) => Self::new(ROLLOUT_OVER, detail),
            RolloutError::Change(error) => error.into(),
            RolloutError::Replay(_) => Self::new(POLICY_REFUSED, detail),
            RolloutError::Ledger(error) => error.into(),
            RolloutError::Conflict => Self::new(PIPELINE_CHANGED, detail),
        }
    }
}
