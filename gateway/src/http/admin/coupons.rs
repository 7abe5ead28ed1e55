//! `/admin/coupons`: creates, lists, changes and audits campaigns.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::super::error::Problem;
use super::super::state::ApiState;
use super::super::whole::Whole;
use super::super::{idempotency, json};
use crate::coupon::{
    Audit, Campaign, CampaignChange, CampaignState, ChangeKey, CouponId, NewCampaign, PolicyId, ShardStock, UnixMs,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewCampaignBody {
    coupon_id: CouponId,
    policy_id: PolicyId,
    total: Whole<u64>,
    #[serde(default = "default_shards")]
    shards: Whole<u32>,
    #[serde(default = "default_per_user_limit")]
    per_user_limit: Whole<u32>,
    opens_at: Option<jiff::Timestamp>,
    closes_at: Option<jiff::Timestamp>,
}

fn default_shards() -> Whole<u32> {
    Whole(4)
}

fn default_per_user_limit() -> Whole<u32> {
    Whole(1)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUpBody {
    amount: Whole<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReshardBody {
    shards: Whole<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CampaignBody {
    coupon_id: CouponId,
    policy_id: PolicyId,
    state: CampaignState,
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
        check_range("total", total, 1, NewCampaign::TOTAL_MAX)?;
        check_range("shards", shards.into(), 1, NewCampaign::SHARDS_MAX.into())?;
        check_range("perUserLimit", per_user_limit.into(), 1, i32::MAX.unsigned_abs().into())?;
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

fn check_range(field: &str, number: u64, min: u64, max: u64) -> Result<(), Problem> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    Err(Problem::invalid(field, format!("`{field}`: expected an integer from {min} to {max}, found {number}")))
}

pub(super) fn parse_coupon(text: &str) -> Result<CouponId, Problem> {
    text.parse().map_err(|_| campaign_not_found(text))
}

pub(super) fn campaign_not_found(coupon: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "COUPON_NOT_FOUND", format!("no campaign for coupon {coupon}"))
}

pub(in crate::http) async fn create(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CampaignBody>), Problem> {
    let body: NewCampaignBody = json::read(&headers, body).await?;
    let new = body.check()?;
    let campaigns = Arc::clone(&api.campaigns);
    let (campaign, is_new) = api.admission.detached().run(async move { campaigns.create(&new).await }).await?;
    if !is_new {
        return Ok((StatusCode::OK, Json(campaign.into())));
    }
    let Campaign { coupon_id: coupon, total, ref shards, .. } = campaign;
    tracing::info!(%coupon, total, shards = shards.len(), "campaign created");
    Ok((StatusCode::CREATED, Json(campaign.into())))
}

pub(in crate::http) async fn list(State(api): State<Arc<ApiState>>) -> Result<Json<Vec<CampaignBody>>, Problem> {
    let all = api.ledger.campaigns().await?;
    Ok(Json(all.into_iter().map(CampaignBody::from).collect()))
}

pub(in crate::http) async fn show(
    State(api): State<Arc<ApiState>>,
    Path(coupon): Path<String>,
) -> Result<Json<CampaignBody>, Problem> {
    let coupon = parse_coupon(&coupon)?;
    let campaign = api.ledger.campaign(coupon).await?.ok_or_else(|| campaign_not_found(coupon))?;
    Ok(Json(campaign.into()))
}

#[derive(Deserialize)]
pub(in crate::http) struct AuditQuery {
    #[serde(default)]
    recount: bool,
}

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

pub(in crate::http) async fn pause(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
) -> Result<Json<CampaignBody>, Problem> {
    change(api, coupon, &headers, CampaignChange::Pause).await
}

pub(in crate::http) async fn resume(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
) -> Result<Json<CampaignBody>, Problem> {
    change(api, coupon, &headers, CampaignChange::Resume).await
}

pub(in crate::http) async fn close(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
) -> Result<Json<CampaignBody>, Problem> {
    change(api, coupon, &headers, CampaignChange::Close).await
}

pub(in crate::http) async fn top_up(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CampaignBody>, Problem> {
    let TopUpBody { amount: Whole(amount) } = json::read(&headers, body).await?;
    check_range("amount", amount, 1, NewCampaign::TOTAL_MAX)?;
    change(api, coupon, &headers, CampaignChange::TopUp(amount)).await
}

pub(in crate::http) async fn reshard(
    api: State<Arc<ApiState>>,
    coupon: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CampaignBody>, Problem> {
    let ReshardBody { shards: Whole(shards) } = json::read(&headers, body).await?;
    check_range("shards", shards.into(), 1, NewCampaign::SHARDS_MAX.into())?;
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
