//! `/admin/policies` and `/admin/pipeline`: show and change the policies that decide.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::error::Problem;
use super::super::json;
use super::super::limits::COMPONENT_BYTES_MAX;
use super::super::openapi::problems::{self, problems};
use super::super::problem_type::{
    LEDGER_UNAVAILABLE, NOTHING_TO_ROLL_BACK, PIPELINE_CHANGED, POLICY_REFUSED, POLICY_UNAVAILABLE, ROLLOUT_RUNNING,
};
use super::super::state::ApiState;
use super::Caller;
use crate::counters::{Hook, Measure, PerHook};
use crate::coupon::{GenerationNo, UnixMs};
use crate::policy::{
    Author, ChangeError, Digest, FailureReport, Generation, HistoryEntry, HookPatch, ListedPolicy, NotLoaded, Pipeline,
    PipelinePatch, Pipelines, Scope, UploadedPolicy,
};

/// The signature of an uploaded component.
const SIGNATURE: HeaderName = HeaderName::from_static("sluice-signature");

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PipelineStatus {
    #[schema(value_type = u64)]
    generation: GenerationNo,
    /// The newest generation in the ledger, while it cannot be loaded and an older one is active.
    #[serde(rename = "notLoaded", skip_serializing_if = "Option::is_none")]
    not_loaded: Option<NotLoadedStatus>,
    pipeline: Pipeline,
    hooks: PerHook<HookStatus>,
    /// Newest first, refused changes included.
    history: Vec<HistoryLine>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NotLoadedStatus {
    #[schema(value_type = u64)]
    generation: GenerationNo,
    error: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct HookStatus {
    version: String,
    measures: Vec<Measure>,
    /// The first failure of each kind.
    failures: Vec<FailureLine>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FailureLine {
    #[schema(value_type = i64)]
    at_ms: UnixMs,
    reason: &'static str,
    detail: Option<String>,
    facts: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryLine {
    #[schema(value_type = i64)]
    at_ms: UnixMs,
    #[serde(flatten)]
    author: Author,
    #[schema(value_type = Option<u64>)]
    generation: Option<GenerationNo>,
    error: Option<String>,
}

/// A change of the hooks that are given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PipelineBody {
    #[serde(default, deserialize_with = "json::object")]
    rate_shaper: Option<HookPatch>,
    #[serde(default, deserialize_with = "json::object")]
    user_limit: Option<HookPatch>,
    #[serde(default, deserialize_with = "json::object")]
    shard_picker: Option<HookPatch>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Published {
    #[schema(value_type = u64)]
    pub(super) generation: GenerationNo,
}

/// A version of a policy, or the error of a file that is no policy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PolicyLine {
    name: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: Option<String>,
    bytes: Option<u64>,
    world: Option<String>,
    /// The version of the contract.
    contract: Option<String>,
    /// The id of the key that signed the component.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    signed_by: Option<String>,
    /// `folder` or `admin`.
    source: Option<String>,
    /// Who uploaded it: the name of an admin token, or `local` for a call without one.
    who: Option<String>,
    #[schema(value_type = Option<i64>)]
    at_ms: Option<UnixMs>,
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Uploaded {
    name: String,
    bytes: usize,
    digest: Digest,
    world: Hook,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UploadQuery {
    /// The name of the policy in a pipeline.
    #[param(value_type = String, required = true, pattern = "^[a-z0-9-]{1,64}$")]
    name: Option<String>,
}

/// Describes the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct SignatureHeader {
    /// The signature of the component, as `sluice policy sign` writes it. It is stored with the component, so that every
    /// gateway on the ledger can verify it.
    #[param(rename = "Sluice-Signature", value_type = String, required = false)]
    _signature: Option<String>,
}

problems!(ShowProblems: problems::EVERY_CALL, problems::GUARDED);
problems!(ListProblems: problems::EVERY_CALL, problems::GUARDED, &[LEDGER_UNAVAILABLE]);
problems!(ChangeProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY, problems::JSON,
    &[PIPELINE_CHANGED, ROLLOUT_RUNNING, POLICY_REFUSED, LEDGER_UNAVAILABLE, POLICY_UNAVAILABLE]);
problems!(RollbackProblems: problems::EVERY_CALL, problems::GUARDED,
    &[NOTHING_TO_ROLL_BACK, PIPELINE_CHANGED, ROLLOUT_RUNNING, POLICY_REFUSED, LEDGER_UNAVAILABLE, POLICY_UNAVAILABLE]);
problems!(UploadProblems: problems::EVERY_CALL, problems::GUARDED, problems::BODY,
    &[POLICY_REFUSED, LEDGER_UNAVAILABLE, POLICY_UNAVAILABLE]);

/// Show the default pipeline
#[utoipa::path(
    get, path = "/admin/pipeline", tag = "policies", operation_id = "getPipeline",
    responses((status = 200, description = "The active pipeline and its history.", body = PipelineStatus), ShowProblems)
)]
pub(in crate::http) async fn show(State(api): State<Arc<ApiState>>) -> Json<PipelineStatus> {
    Json(PipelineStatus::of(&api.pipelines))
}

/// Change the default pipeline
///
/// It decides for every coupon, except for the hooks that a coupon sets itself.
///
/// A missing hook stays as it is. A missing key keeps its value while the policy is the same, and has the hook's default
/// if it is another one.
#[utoipa::path(
    put, path = "/admin/pipeline", tag = "policies", operation_id = "changePipeline",
    request_body(content = PipelineBody, example = json!({"shard-picker": {"policy": "hash-user"}})),
    responses(
        (status = 200, description = "The change is active, or changed nothing.", body = Published),
        ChangeProblems,
    )
)]
pub(in crate::http) async fn change(
    State(api): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Published>, Problem> {
    let body: PipelineBody = json::read(&headers, body).await?;
    let generation = api.pipelines.change(Scope::Default, body.into_patch(), caller.name()).await?;
    Ok(Json(Published { generation }))
}

/// Undo the newest change of the default pipeline
#[utoipa::path(
    post, path = "/admin/pipeline/rollback", tag = "policies", operation_id = "rollBackPipeline",
    responses((status = 200, description = "The earlier pipeline is active again.", body = Published), RollbackProblems)
)]
pub(in crate::http) async fn rollback(
    State(api): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Published>, Problem> {
    let generation = api.pipelines.rollback(Scope::Default, caller.name()).await?;
    Ok(Json(Published { generation }))
}

/// List the policies
#[utoipa::path(
    get, path = "/admin/policies", tag = "policies", operation_id = "listPolicies",
    responses(
        (status = 200, description = "All versions, newest first, then the files that are no policies.", body = Vec<PolicyLine>),
        ListProblems,
    )
)]
pub(in crate::http) async fn list(State(api): State<Arc<ApiState>>) -> Result<Json<Vec<PolicyLine>>, Problem> {
    let listed = api.pipelines.list().await?;
    Ok(Json(listed.into_iter().map(PolicyLine::from).collect()))
}

/// Upload a policy
///
/// The component is checked and registered as the newest version of the policy, for all gateways on the ledger. It
/// decides only once a change of the pipeline names the policy.
#[utoipa::path(
    post, path = "/admin/policies", tag = "policies", operation_id = "uploadPolicy",
    params(UploadQuery, SignatureHeader),
    request_body(content_type = "application/wasm", description = "A component. Any Content-Type is accepted."),
    responses((status = 201, description = "The component is registered.", body = Uploaded), UploadProblems)
)]
pub(in crate::http) async fn upload(
    State(api): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    Query(UploadQuery { name }): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Uploaded>), Problem> {
    let name = name.ok_or_else(|| Problem::malformed("expected ?name=NAME, the policy's name in a pipeline"))?;
    let bytes = json::bytes(&headers, body, COMPONENT_BYTES_MAX).await?;
    let signature = headers.get(SIGNATURE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let uploaded = api.pipelines.upload(&name, bytes, signature.as_deref(), caller.name()).await?;
    Ok((StatusCode::CREATED, Json(uploaded.into())))
}

impl PipelineStatus {
    fn of(pipelines: &Pipelines) -> Self {
        let active = pipelines.current();
        Self {
            generation: active.number(),
            not_loaded: pipelines.not_loaded(Scope::Default).map(NotLoadedStatus::from),
            pipeline: active.pipeline(),
            hooks: PerHook::from_fn(|hook| HookStatus::of(&active, hook)),
            history: pipelines.history().into_iter().map(HistoryLine::from).collect(),
        }
    }
}

impl HookStatus {
    pub(super) fn of(generation: &Generation, hook: Hook) -> Self {
        Self {
            version: generation.version(hook).to_owned(),
            measures: generation.measures(hook).to_vec(),
            failures: generation.failures(hook).into_iter().map(FailureLine::from).collect(),
        }
    }
}

impl From<NotLoaded> for NotLoadedStatus {
    fn from(NotLoaded { generation, error }: NotLoaded) -> Self {
        Self { generation, error }
    }
}

impl PipelineBody {
    pub(super) fn into_patch(self) -> PipelinePatch {
        PerHook { rate_shaper: self.rate_shaper, user_limit: self.user_limit, shard_picker: self.shard_picker }
    }
}

impl From<&FailureReport> for FailureLine {
    fn from(FailureReport { at_ms, reason, detail, facts }: &FailureReport) -> Self {
        Self { at_ms: *at_ms, reason, detail: detail.clone(), facts: facts.clone() }
    }
}

impl From<HistoryEntry> for HistoryLine {
    fn from(HistoryEntry { at_ms, author, result }: HistoryEntry) -> Self {
        let (generation, error) = match result {
            Ok(generation) => (Some(generation), None),
            Err(error) => (None, Some(error)),
        };
        Self { at_ms, author, generation, error }
    }
}

impl From<ListedPolicy> for PolicyLine {
    fn from(ListedPolicy { name, signed_by, version }: ListedPolicy) -> Self {
        let (version, error) = match version {
            Ok(version) => (Some(version), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            name,
            digest: version.as_ref().map(|version| version.digest.clone()),
            bytes: version.as_ref().map(|version| version.bytes),
            world: version.as_ref().map(|version| version.world.clone()),
            contract: version.as_ref().map(|version| version.contract.clone()),
            signed_by: signed_by.map(|key| key.to_string()),
            source: version.as_ref().map(|version| version.source.clone()),
            who: version.as_ref().and_then(|version| version.registered_by.clone()),
            at_ms: version.map(|version| version.registered_at_ms),
            error,
        }
    }
}

impl From<UploadedPolicy> for Uploaded {
    fn from(UploadedPolicy { name, bytes, digest, world }: UploadedPolicy) -> Self {
        Self { name, bytes, digest, world }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Ledger(error) => error.into(),
            ChangeError::NoEarlierPipeline => Self::new(NOTHING_TO_ROLL_BACK, detail),
            ChangeError::Conflict => Self::new(PIPELINE_CHANGED, detail),
            ChangeError::Held { .. } => Self::new(ROLLOUT_RUNNING, detail),
            error if error.is_stopping() => Self::new(POLICY_UNAVAILABLE, detail),
            _ => Self::new(POLICY_REFUSED, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Source;

    #[test]
    fn a_refused_change_has_an_error_and_no_generation_in_the_history() {
        let author = Author { source: Source::Rollout, who: Some("anna".to_owned()), rollout: Some(3) };
        let refused = HistoryEntry { at_ms: 7, author, result: Err("not a component".to_owned()) };
        let line = serde_json::to_value(HistoryLine::from(refused)).expect("JSON");
        let expected = json!({
            "atMs": 7, "source": "rollout", "who": "anna", "rollout": 3, "generation": null, "error": "not a component",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn an_uploaded_policy_is_answered_with_its_digest_in_hexadecimal() {
        let digest = Digest::of(b"abc");
        let uploaded = UploadedPolicy { name: "my-own".to_owned(), bytes: 3, digest, world: Hook::UserLimit };
        let body = serde_json::to_value(Uploaded::from(uploaded)).expect("JSON");
        let digest = digest.to_string();
        assert_eq!(body, json!({ "name": "my-own", "bytes": 3, "digest": digest, "world": "user-limit" }));
    }
}
