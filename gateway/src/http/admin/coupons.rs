//! `/admin/coupons`: creates, lists, changes and audits campaigns.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::error::Problem;
use super::super::openapi::problems::{self, problems};
use super::super::problem_type::{
    CLOSED, COUPON_EXISTS, COUPON_NOT_FOUND, IDEMPOTENCY_CONFLICT, INVALID, LEDGER_UNAVAILABLE, ProblemType,
};
use super::super::state::ApiState;
use super::super::whole::Whole;
use super::super::{idempotency, json};
use crate::coupon::{
    Audit, Campaign, CampaignChange, CampaignState, ChangeKey, CouponId, GroupNo, NewCampaign, PolicyId, ShardStock,
    UnixMs,
};
use crate::ledger::CampaignError;

type Total = Whole<u64, 1, { NewCampaign::TOTAL_MAX }>;
type Shards = Whole<u32, 1, { NewCampaign::SHARDS_MAX as u64 }>;
type PerUserLimit = Whole<u32, 1, { i32::MAX.unsigned_abs() as u64 }>;

/// A campaign to create.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"couponId": 105, "policyId": 22, "total": 1000}))]
struct NewCampaignBody {
    coupon_id: CouponId,
    policy_id: PolicyId,
    /// The number of coupons.
    total: Total,
    /// The parts into which the coupons are split. 4 by default.
    #[serde(default = "default_shards")]
    shards: Shards,
    /// The most coupons of one user. 1 by default.
    #[serde(default = "default_per_user_limit")]
    per_user_limit: PerUserLimit,
    /// Open at once without it.
    opens_at: Option<jiff::Timestamp>,
    /// Later than `opensAt`. Never closes by itself without it.
    closes_at: Option<jiff::Timestamp>,
    /// The ledger group that holds the campaign, counted from 0. By a hash of the coupon id without it.
    group: Option<GroupNo>,
}

fn default_shards() -> Shards {
    Whole(4)
}

fn default_per_user_limit() -> PerUserLimit {
    Whole(1)
}

/// Coupons to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TopUpBody {
    amount: Total,
}

/// A new number of shards.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReshardBody {
    shards: Shards,
}

/// A campaign.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CampaignBody {
    coupon_id: CouponId,
    policy_id: PolicyId,
    /// The ledger group that holds it.
    group: GroupNo,
    state: CampaignState,
    /// Top-ups included.
    total: u64,
    remaining: u64,
    per_user_limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<jiff::Timestamp>,
    shards: Vec<ShardStock>,
}

impl From<Campaign> for CampaignBody {
    fn from(campaign: Campaign) -> Self {
        let timestamp = |ms: Option<UnixMs>| ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        Self {
            coupon_id: campaign.coupon_id,
            policy_id: campaign.policy_id,
            group: campaign.group,
            state: campaign.state,
            total: campaign.total,
            remaining: campaign.remaining(),
            per_user_limit: campaign.per_user_limit,
            opens_at: timestamp(campaign.opens_at_ms),
            closes_at: timestamp(campaign.closes_at_ms),
            shards: campaign.shards,
        }
    }
}

impl NewCampaignBody {
    fn check(self) -> Result<NewCampaign, Problem> {
        let (Whole(total), Whole(shards), Whole(per_user_limit)) = (self.total, self.shards, self.per_user_limit);
        if let (Some(opens_at), Some(closes_at)) = (self.opens_at, self.closes_at)
            && closes_at <= opens_at
        {
            return Err(Problem::invalid("closesAt", "`closesAt`: expected a time after `opensAt`"));
        }
        Ok(NewCampaign {
            coupon_id: self.coupon_id,
            policy_id: self.policy_id,
            total,
            shards,
            per_user_limit,
            opens_at_ms: self.opens_at.map(jiff::Timestamp::as_millisecond),
            closes_at_ms: self.closes_at.map(jiff::Timestamp::as_millisecond),
        })
    }
}

pub(super) fn parse_coupon(text: &str) -> Result<CouponId, Problem> {
    text.parse().map_err(|_| campaign_not_found(text))
}

pub(super) fn campaign_not_found(coupon: impl std::fmt::Display) -> Problem {
    Problem::new(COUPON_NOT_FOUND, format!("no campaign for coupon {coupon}"))
}

/// What a call about one campaign may be answered.
pub(super) const CAMPAIGN: &[ProblemType] = &[COUPON_NOT_FOUND, LEDGER_UNAVAILABLE];
/// What a change of a campaign may be answered in addition.
const CHANGE: &[ProblemType] = &[CLOSED, IDEMPOTENCY_CONFLICT];

problems!(ListProblems: problems::EVERY_CALL, problems::GUARDED, &[INVALID, LEDGER_UNAVAILABLE]);
problems!(CreateProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON,
    &[COUPON_EXISTS, LEDGER_UNAVAILABLE]);
problems!(ReadProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN);
problems!(ChangeProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN, CHANGE);
problems!(CloseProblems: problems::EVERY_CALL, problems::GUARDED, CAMPAIGN, &[IDEMPOTENCY_CONFLICT]);
problems!(StockProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON, CAMPAIGN, CHANGE);

/// Create a campaign
///
/// Creating it again, with the same terms, changes nothing.
#[utoipa::path(
    post, path = "/admin/coupons", tag = "campaigns", operation_id = "createCampaign",
    request_body = NewCampaignBody,
    responses(
        (status = 201, description = "The campaign was created.", body = CampaignBody),
        (status = 200, description = "The campaign existed already.", body = CampaignBody),
        CreateProblems,
    )
)]
pub(in crate::http) async fn create(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CampaignBody>), Problem> {
    let body: NewCampaignBody = json::read(&headers, body).await?;
    let group = body.group;
    let new = body.check()?;
    let campaigns = Arc::clone(&api.campaigns);
    let creating = async move { campaigns.create(&new, group).await };
    let (campaign, is_new) = api.admission.detached().run(creating).await?;
    if !is_new {
        return Ok((StatusCode::OK, Json(campaign.into())));
    }
    let Campaign { coupon_id: coupon, group, total, ref shards, .. } = campaign;
    tracing::info!(%coupon, %group, total, shards = shards.len(), "campaign created");
    Ok((StatusCode::CREATED, Json(campaign.into())))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// Only the campaigns of this ledger group. They are listed also while another group is unavailable.
    group: Option<u32>,
}

/// List the campaigns
///
/// The list is complete, or fails.
#[utoipa::path(
    get, path = "/admin/coupons", tag = "campaigns", operation_id = "listCampaigns", params(ListQuery),
    responses((status = 200, description = "All campaigns, closed ones included.", body = Vec<CampaignBody>), ListProblems)
)]
pub(in crate::http) async fn list(
    State(api): State<Arc<ApiState>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<CampaignBody>>, Problem> {
    let Query(ListQuery { group }) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let groups = api.ledger.groups();
    let wanted = match group {
        Some(group) if group >= groups => {
            return Err(CampaignError::NoSuchGroup { group: GroupNo(group), groups }.into());
        }
        Some(group) => group..group + 1,
        None => 0..groups,
    };
    let read = async |group| {
        let read = api.ledger.campaigns(group).await;
        read.map_err(|error| if groups == 1 { error.into() } else { Problem::ledger_group_unavailable(group, &error) })
    };
    let mut all: Vec<Campaign> = try_join_all(wanted.map(GroupNo).map(read)).await?.into_iter().flatten().collect();
    all.sort_by_key(|campaign| campaign.coupon_id);
    Ok(Json(all.into_iter().map(CampaignBody::from).collect()))
}

/// Show a campaign
#[utoipa::path(
    get, path = "/admin/coupons/{couponId}", tag = "campaigns", operation_id = "getCampaign",
    params(("couponId" = CouponId, Path)),
    responses((status = 200, description = "The campaign.", body = CampaignBody), ReadProblems)
)]
pub(in crate::http) async fn show(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
) -> Result<Json<CampaignBody>, Problem> {
    let coupon = parse_coupon(&coupon)?;
    let campaign = api.ledger.campaign(coupon).await?.ok_or_else(|| campaign_not_found(coupon))?;
    Ok(Json(campaign.into()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AuditQuery {
    /// Also count the outcomes, which takes longer the more there are, and compare.
    #[serde(default)]
    recount: bool,
}

/// Audit a campaign
///
/// Whether granted + remaining = total, from the tallies that settlement maintains.
#[utoipa::path(
    get, path = "/admin/coupons/{couponId}/audit", tag = "campaigns", operation_id = "auditCampaign",
    params(("couponId" = CouponId, Path), AuditQuery),
    responses((status = 200, description = "The totals.", body = Audit), ReadProblems)
)]
pub(in crate::http) async fn audit(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Audit>, Problem> {
    let Query(AuditQuery { recount }) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let coupon = parse_coupon(&coupon)?;
    let audit = if recount { api.ledger.recount(coupon).await? } else { api.ledger.audit(coupon).await? };
    audit.map(Json).ok_or_else(|| campaign_not_found(coupon))
}

/// Pause a campaign
#[utoipa::path(
    post, path = "/admin/coupons/{couponId}/pause", tag = "campaigns", operation_id = "pauseCampaign",
    params(("couponId" = CouponId, Path), idempotency::KeyHeader),
    responses((status = 200, description = "The campaign now.", body = CampaignBody), ChangeProblems)
)]
pub(in crate::http) async fn pause(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
) -> Result<Json<CampaignBody>, Problem> {
    change(api, coupon, &headers, CampaignChange::Pause).await
}

/// Resume a campaign
#[utoipa::path(
    post, path = "/admin/coupons/{couponId}/resume", tag = "campaigns", operation_id = "resumeCampaign",
    params(("couponId" = CouponId, Path), idempotency::KeyHeader),
    responses((status = 200, description = "The campaign now.", body = CampaignBody), ChangeProblems)
)]
pub(in crate::http) async fn resume(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
) -> Result<Json<CampaignBody>, Problem> {
    change(api, coupon, &headers, CampaignChange::Resume).await
}

/// Close a campaign
///
/// A closed campaign never opens again.
#[utoipa::path(
    post, path = "/admin/coupons/{couponId}/close", tag = "campaigns", operation_id = "closeCampaign",
    params(("couponId" = CouponId, Path), idempotency::KeyHeader),
    responses((status = 200, description = "The campaign now.", body = CampaignBody), CloseProblems)
)]
pub(in crate::http) async fn close(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
) -> Result<Json<CampaignBody>, Problem> {
    change(api, coupon, &headers, CampaignChange::Close).await
}

/// Add coupons
#[utoipa::path(
    post, path = "/admin/coupons/{couponId}/top-up", tag = "campaigns", operation_id = "topUpCampaign",
    params(("couponId" = CouponId, Path), idempotency::KeyHeader), request_body = TopUpBody,
    responses((status = 200, description = "The campaign now.", body = CampaignBody), StockProblems)
)]
pub(in crate::http) async fn top_up(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CampaignBody>, Problem> {
    let TopUpBody { amount: Whole(amount) } = json::read(&headers, body).await?;
    change(api, coupon, &headers, CampaignChange::TopUp(amount)).await
}

/// Change the number of shards
#[utoipa::path(
    post, path = "/admin/coupons/{couponId}/reshard", tag = "campaigns", operation_id = "reshardCampaign",
    params(("couponId" = CouponId, Path), idempotency::KeyHeader), request_body = ReshardBody,
    responses((status = 200, description = "The campaign now.", body = CampaignBody), StockProblems)
)]
pub(in crate::http) async fn reshard(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CampaignBody>, Problem> {
    let ReshardBody { shards: Whole(shards) } = json::read(&headers, body).await?;
    change(api, coupon, &headers, CampaignChange::Reshard(shards)).await
}

/// Runs to its end even if the operator disconnects: otherwise the cache could miss what the ledger committed.
async fn change(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
    headers: &HeaderMap,
    change: CampaignChange,
) -> Result<Json<CampaignBody>, Problem> {
    let coupon = parse_coupon(&coupon)?;
    let key = idempotency::key(headers)?.map(ChangeKey::of);
    let campaigns = Arc::clone(&api.campaigns);
    let campaign = api.admission.detached().run(async move { campaigns.change(coupon, change, key).await }).await?;
    tracing::info!(%coupon, ?change, "campaign changed");
    Ok(Json(campaign.into()))
}
