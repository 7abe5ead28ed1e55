//! `/admin/coupons/{couponId}/pipeline`: shows and changes the pipeline of one coupon.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::Problem;
use super::super::json;
use super::super::openapi::problems::{self, problems};
use super::super::problem_type::{
    CLOSED, NOTHING_TO_ROLL_BACK, PIPELINE_CHANGED, POLICY_REFUSED, POLICY_UNAVAILABLE, ProblemType, ROLLOUT_RUNNING,
};
use super::super::state::ApiState;
use super::Caller;
use super::coupons::{CAMPAIGN, campaign_not_found, parse_coupon};
use super::policies::{HistoryLine, HookStatus, NotLoadedStatus, PipelineBody, Published};
use crate::counters::{Hook, PerHook};
use crate::coupon::{CouponId, Entry, GenerationNo, now_ms};
use crate::policy::{Generation, HistoryEntry, NotLoaded, Pipeline, Scope};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CouponPipelineStatus {
    coupon_id: CouponId,
    #[schema(value_type = u64)]
    generation: GenerationNo,
    /// The newest generation of this coupon in the ledger, while it cannot be loaded and an older one is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_loaded: Option<NotLoadedStatus>,
    /// What decides about requests for the coupon.
    pipeline: Pipeline,
    hooks: PerHook<CouponHookStatus>,
    /// The changes of the coupon's own pipeline, newest first.
    history: Vec<HistoryLine>,
}

#[derive(Serialize, ToSchema)]
struct CouponHookStatus {
    from: HookOrigin,
    #[serde(flatten)]
    status: HookStatus,
}

/// Which pipeline a hook comes from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum HookOrigin {
    /// The coupon sets the hook itself.
    Coupon,
    /// The hook follows the default pipeline.
    Default,
}

/// What a change of a pipeline may be answered in addition.
const CHANGE: &[ProblemType] = &[PIPELINE_CHANGED, ROLLOUT_RUNNING, POLICY_UNAVAILABLE];

problems!(ShowProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN);
problems!(ChangeProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON, CAMPAIGN, CHANGE,
    &[CLOSED, POLICY_REFUSED]);
problems!(ClearProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN, CHANGE);
problems!(RollbackProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN, CHANGE,
    &[NOTHING_TO_ROLL_BACK, POLICY_REFUSED]);

/// Show the pipeline of a coupon
///
/// For each hook: what decides, and whether the coupon sets it or it follows the default pipeline.
#[utoipa::path(
    get, path = "/admin/coupons/{couponId}/pipeline", tag = "policies", operation_id = "getCouponPipeline",
    params(("couponId" = CouponId, Path)),
    responses((status = 200, description = "The pipeline.", body = CouponPipelineStatus), ShowProblems)
)]
pub(in crate::http) async fn show(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
) -> Result<Json<CouponPipelineStatus>, Problem> {
    let coupon = find(&api, &coupon).await?;
    let history = api.pipelines.history_of(coupon).await?;
    let not_loaded = api.pipelines.not_loaded(Scope::Coupon(coupon));
    Ok(Json(CouponPipelineStatus::of(coupon, &api.pipelines.deciding(coupon), not_loaded, history)))
}

/// Change the pipeline of a coupon
///
/// The coupon sets the hooks that the body gives, and keeps those that it set before. The others follow the default
/// pipeline, also when that changes. A hook that the coupon did not set is changed as the default pipeline has it.
#[utoipa::path(
    put, path = "/admin/coupons/{couponId}/pipeline", tag = "policies", operation_id = "changeCouponPipeline",
    params(("couponId" = CouponId, Path)),
    request_body(content = PipelineBody, example = json!({"shard-picker": {"policy": "hash-user"}})),
    responses(
        (status = 200, description = "The change is active, or changed nothing.", body = Published),
        ChangeProblems,
    )
)]
pub(in crate::http) async fn change(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Published>, Problem> {
    let coupon = find(&api, &coupon).await?;
    let body: PipelineBody = json::read(&headers, body).await?;
    check_not_closed(&api, coupon)?;
    let generation = api.pipelines.change(Scope::Coupon(coupon), body.into_patch(), caller.name()).await?;
    Ok(Json(Published { generation }))
}

/// Remove the pipeline of a coupon
///
/// All hooks follow the default pipeline again.
#[utoipa::path(
    delete, path = "/admin/coupons/{couponId}/pipeline", tag = "policies", operation_id = "removeCouponPipeline",
    params(("couponId" = CouponId, Path)),
    responses(
        (status = 200, description = "The coupon sets no hook, or did not set any.", body = Published),
        ClearProblems,
    )
)]
pub(in crate::http) async fn clear(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Published>, Problem> {
    let coupon = find(&api, &coupon).await?;
    let generation = api.pipelines.clear(coupon, caller.name()).await?;
    Ok(Json(Published { generation }))
}

/// Undo the newest change of the pipeline of a coupon
///
/// The first change has nothing before it: remove the pipeline instead.
#[utoipa::path(
    post, path = "/admin/coupons/{couponId}/pipeline/rollback", tag = "policies",
    operation_id = "rollBackCouponPipeline", params(("couponId" = CouponId, Path)),
    responses((status = 200, description = "The earlier pipeline is active again.", body = Published), RollbackProblems)
)]
pub(in crate::http) async fn rollback(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Published>, Problem> {
    let coupon = find(&api, &coupon).await?;
    let generation = api.pipelines.rollback(Scope::Coupon(coupon), caller.name()).await?;
    Ok(Json(Published { generation }))
}

async fn find(api: &ApiState, text: &str) -> Result<CouponId, Problem> {
    check_campaign(api, parse_coupon(text)?).await
}

/// A closed campaign has no requests, so nothing decides about them.
pub(super) fn check_not_closed(api: &ApiState, coupon: CouponId) -> Result<(), Problem> {
    if api.campaigns.get(coupon).is_some_and(|cached| cached.campaign.entry_at(now_ms()) == Entry::Closed) {
        let detail = format!("the campaign of coupon {coupon} is closed: nothing decides about it");
        return Err(Problem::new(CLOSED, detail));
    }
    Ok(())
}

/// A coupon that has a campaign. Another gateway may have created it a moment ago.
pub(super) async fn check_campaign(api: &ApiState, coupon: CouponId) -> Result<CouponId, Problem> {
    if api.campaigns.get(coupon).is_some() || api.ledger.campaign(coupon).await?.is_some() {
        Ok(coupon)
    } else {
        Err(campaign_not_found(coupon))
    }
}

impl CouponPipelineStatus {
    fn of(
        coupon_id: CouponId,
        deciding: &Generation,
        not_loaded: Option<NotLoaded>,
        history: Vec<HistoryEntry>,
    ) -> Self {
        Self {
            coupon_id,
            generation: deciding.number(),
            not_loaded: not_loaded.map(NotLoadedStatus::from),
            pipeline: deciding.pipeline(),
            hooks: PerHook::from_fn(|hook| CouponHookStatus::of(deciding, hook)),
            history: history.into_iter().map(HistoryLine::from).collect(),
        }
    }
}

impl CouponHookStatus {
    fn of(deciding: &Generation, hook: Hook) -> Self {
        let from = if deciding.is_own(hook) { HookOrigin::Coupon } else { HookOrigin::Default };
        Self { from, status: HookStatus::of(deciding, hook) }
    }
}
