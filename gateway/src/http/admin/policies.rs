//! `/admin/policies` and `/admin/pipeline`: what decides, and changing it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::Problem;
use super::super::{ApiState, COMPONENT_BYTES_MAX, json};
use crate::coupon::GenerationNo;
use crate::policy::{ChangeError, PipelinePatch, Source};

#[derive(Serialize)]
pub(in crate::http) struct Published {
    generation: GenerationNo,
}

#[derive(Deserialize)]
pub(in crate::http) struct Named {
    name: Option<String>,
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Ledger(_) => Self::unavailable("LEDGER_UNAVAILABLE", detail),
            ChangeError::NothingBefore => Self::new(StatusCode::CONFLICT, "NOTHING_TO_ROLL_BACK", detail),
            _ => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "POLICY_REFUSED", detail),
        }
    }
}

pub(in crate::http) async fn show(State(api): State<Arc<ApiState>>) -> Json<Value> {
    Json(serde_json::to_value(api.pipelines.status()).expect("a status is JSON"))
}

pub(in crate::http) async fn change(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Published>, Problem> {
    let patch: PipelinePatch = json::read(&headers, body).await?;
    let generation = api.pipelines.change(patch, Source::Admin).await?;
    Ok(Json(Published { generation }))
}

pub(in crate::http) async fn rollback(State(api): State<Arc<ApiState>>) -> Result<Json<Published>, Problem> {
    let generation = api.pipelines.rollback().await?;
    Ok(Json(Published { generation }))
}

pub(in crate::http) async fn list(State(api): State<Arc<ApiState>>) -> Json<Value> {
    let listed = api.pipelines.list().await;
    Json(serde_json::to_value(listed).expect("a list is JSON"))
}

pub(in crate::http) async fn upload(
    State(api): State<Arc<ApiState>>,
    Query(Named { name }): Query<Named>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = name.ok_or_else(|| Problem::malformed("expected ?name=NAME, the name that a pipeline calls it by"))?;
    let bytes = json::bytes(body, COMPONENT_BYTES_MAX).await?;
    let uploaded = api.pipelines.upload(&name, bytes).await?;
    Ok((StatusCode::CREATED, Json(serde_json::to_value(uploaded).expect("a policy's line is JSON"))))
}
