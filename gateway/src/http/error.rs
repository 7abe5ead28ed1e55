//! Refusals and failures as RFC 9457 problem details, each of a type in `problem_type`.

use std::borrow::Cow;

use axum::body::to_bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::{HEADER_BYTES_MAX, READ_TIMEOUT};
use super::problem_type::{
    BODY_TOO_LARGE, CLOSED, COUPON_EXISTS, COUPON_NOT_FOUND, HEADERS_TOO_LARGE, IDEMPOTENCY_CONFLICT, INTERNAL,
    INVALID, LEDGER_UNAVAILABLE, LOG_UNAVAILABLE, MALFORMED, METHOD_NOT_ALLOWED, NOT_FOUND, NOT_OPEN, OVERLOADED,
    PAUSED, POLICY_UNAVAILABLE, ProblemType, SOLD_OUT, TIMEOUT, TLS_REQUIRED, UNSUPPORTED_MEDIA_TYPE,
};
use crate::admission::Refusal;
use crate::coupon::{GroupNo, RequestId, now_ms};
use crate::ledger::{CampaignError, LedgerError};
use crate::log::LogError;

/// Retry-After of a 503: by then a full queue has drained, or a restart is over.
const UNAVAILABLE_RETRY_SECONDS: u64 = 1;

pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// axum's plain-text errors are one sentence.
const DETAIL_BYTES_MAX: usize = 1024;

/// An error answer. Every handler returns one in a result, so its texts take little room.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    reason: Cow<'static, str>,
    detail: Box<str>,
    help: Option<Box<str>>,
    field: Option<Box<str>>,
    request_id: Option<RequestId>,
    headers: Vec<(HeaderName, String)>,
}

/// Why the call failed (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProblemDetails<'a> {
    /// `/problems/REASON`, relative to the listener: it explains the reason.
    #[schema(format = "uri-reference", example = "/problems/SOLD_OUT")]
    r#type: String,
    /// The name of the HTTP status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Tells why, in one word that does not change.
    reason: &'a str,
    /// Tells why, in words for people. Plain text; a policy may have written it.
    detail: &'a str,
    /// The address of a page that explains a policy's refusal, if the policy gives one.
    #[schema(format = "uri", example = "https://example.com/help")]
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    /// The field of the body that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The id that the log has for the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<RequestId>,
}

impl Problem {
    pub(super) fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self::with_reason(problem_type.status, problem_type.reason.into(), detail.into())
    }

    fn with_reason(status: StatusCode, reason: Cow<'static, str>, detail: String) -> Self {
        let detail = detail.into_boxed_str();
        let problem = Self { status, reason, detail, help: None, field: None, request_id: None, headers: Vec::new() };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return problem.with(header::RETRY_AFTER, UNAVAILABLE_RETRY_SECONDS.to_string());
        }
        problem
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(MALFORMED, detail)
    }

    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(INVALID, detail) }
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        Self::new(BODY_TOO_LARGE, format!("the body exceeds the limit of {bytes_max} bytes"))
    }

    /// A 503 whose cause only the log tells. The client gets the request id of the log line.
    fn unavailable_because(
        problem_type: ProblemType,
        detail: &str,
        request_id: RequestId,
        cause: &dyn std::error::Error,
    ) -> Self {
        tracing::error!(%request_id, reason = problem_type.reason, %cause, "request failed");
        Self { request_id: Some(request_id), ..Self::new(problem_type, detail) }
    }

    pub(super) fn ledger_group_unavailable(group: GroupNo, cause: &LedgerError) -> Self {
        let detail = format!("ledger group {group} is unavailable: retry later, or name another group with ?group=");
        Self::unavailable_because(LEDGER_UNAVAILABLE, &detail, RequestId::new(), cause)
    }

    pub(super) fn ledger_unavailable(request_id: RequestId, cause: &LedgerError) -> Self {
        Self::unavailable_because(LEDGER_UNAVAILABLE, "the ledger is unavailable: retry later", request_id, cause)
    }

    /// For a request that hyper cannot parse.
    pub(super) fn unreadable(status: StatusCode) -> Self {
        match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::headers_too_large(),
            _ => Self::malformed("expected a valid HTTP/1.1 request"),
        }
    }

    fn headers_too_large() -> Self {
        Self::new(HEADERS_TOO_LARGE, format!("the headers exceed the limit of {HEADER_BYTES_MAX} bytes"))
    }

    /// `what` with its verb.
    pub(super) fn timed_out(what: &str) -> Self {
        Self::new(TIMEOUT, format!("the {what} not received within {} seconds", READ_TIMEOUT.as_secs()))
    }

    /// For HTTP without TLS, where the listener has a certificate.
    pub(super) fn tls_required() -> Self {
        Self::new(TLS_REQUIRED, "this port requires TLS: call it with https://")
    }

    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(UNSUPPORTED_MEDIA_TYPE, detail)
    }

    pub(super) fn internal() -> Self {
        Self::new(INTERNAL, "the gateway failed to answer: report it")
    }

    /// The last answer of an HTTP/1 connection, for when hyper has given up on it.
    pub(super) fn to_http1(&self) -> Vec<u8> {
        let (status, body) = (self.status, self.body());
        let title = status.canonical_reason().unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {title}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            status.as_u16(),
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    fn body(&self) -> Vec<u8> {
        let body = ProblemDetails {
            r#type: format!("/problems/{}", self.reason),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            reason: &self.reason,
            detail: &self.detail,
            help: self.help.as_deref(),
            field: self.field.as_deref(),
            request_id: self.request_id,
        };
        serde_json::to_vec(&body).expect("strings and a number serialize")
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The label of this answer in `sluice_issue_requests_total`.
    pub(super) fn outcome(&self) -> &'static str {
        match &*self.reason {
            "COUPON_NOT_FOUND" => "coupon_not_found",
            "NOT_OPEN" => "not_open",
            "PAUSED" => "paused",
            "CLOSED" => "closed",
            "SOLD_OUT" => "sold_out",
            "USER_LIMIT" => "user_limit",
            "RATE_LIMITED" => "rate_limited",
            "IDEMPOTENCY_CONFLICT" => "idempotency_conflict",
            "INVALID" => "invalid",
            "OVERLOADED" => "overloaded",
            "LOG_UNAVAILABLE" => "log_unavailable",
            "LEDGER_UNAVAILABLE" => "ledger_unavailable",
            "POLICY_UNAVAILABLE" => "policy_unavailable",
            // A policy chooses its own reasons. One label for all of them bounds the number of series.
            _ if self.status == StatusCode::TOO_MANY_REQUESTS => "refused",
            _ => "malformed",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::CouponNotFound => Self::new(COUPON_NOT_FOUND, detail),
            Refusal::OtherPolicy { .. } => Self::invalid("policyId", detail),
            Refusal::NotOpen { opens_at_ms } => {
                let wait_ms = opens_at_ms.saturating_sub(now_ms()).max(0).unsigned_abs();
                Self::new(NOT_OPEN, detail).with(header::RETRY_AFTER, wait_ms.div_ceil(1000).to_string())
            }
            Refusal::Paused => Self::new(PAUSED, detail),
            Refusal::Closed => Self::new(CLOSED, detail),
            Refusal::SoldOut => Self::new(SOLD_OUT, detail),
            Refusal::Policy { hook, rejection, quota } => policy_refusal(hook.as_str(), rejection, quota, detail),
            Refusal::IdempotencyConflict => Self::new(IDEMPOTENCY_CONFLICT, detail),
            Refusal::Overloaded | Refusal::LogUnavailable(crate::log::AppendError::Full) => {
                Self::new(OVERLOADED, detail)
            }
            Refusal::LogUnavailable(error) => {
                Self::unavailable_because(LOG_UNAVAILABLE, &detail, RequestId::new(), &error)
            }
            Refusal::LedgerUnavailable(error) => error.into(),
            Refusal::PolicyUnavailable(_) => Self::new(POLICY_UNAVAILABLE, detail),
        }
    }
}

/// 429 with Retry-After and the RateLimit fields of draft-ietf-httpapi-ratelimit-headers, named after the hook:
/// `r=0` means that no quota remains, `t` is the number of seconds until some does.
fn policy_refusal(
    hook: &str,
    rejection: crate::policy::Rejection,
    quota: Option<crate::policy::Quota>,
    detail: String,
) -> Problem {
    let detail = rejection.message.unwrap_or(detail);
    let mut problem = Problem::with_reason(StatusCode::TOO_MANY_REQUESTS, rejection.code.into(), detail);
    problem.help = rejection.link.map(String::into_boxed_str);
    if let Some(crate::policy::Quota { requests, window_seconds }) = quota {
        let name = HeaderName::from_static("ratelimit-policy");
        problem = problem.with(name, format!("\"{hook}\";q={requests};w={window_seconds}"));
    }
    let ratelimit = HeaderName::from_static("ratelimit");
    match rejection.retry_after_ms {
        Some(ms) => {
            let seconds = u64::from(ms).div_ceil(1000).max(1);
            problem
                .with(header::RETRY_AFTER, seconds.to_string())
                .with(ratelimit, format!("\"{hook}\";r=0;t={seconds}"))
        }
        None => problem.with(ratelimit, format!("\"{hook}\";r=0")),
    }
}

impl From<CampaignError> for Problem {
    fn from(error: CampaignError) -> Self {
        let detail = error.to_string();
        match error {
            CampaignError::NotFound(_) => Self::new(COUPON_NOT_FOUND, detail),
            CampaignError::Exists(_) | CampaignError::OtherGroup { .. } => Self::new(COUPON_EXISTS, detail),
            CampaignError::NoSuchGroup { .. } => Self::invalid("group", format!("`group`: {detail}")),
            CampaignError::Closed(_) => Self::new(CLOSED, detail),
            CampaignError::KeyReused => Self::new(IDEMPOTENCY_CONFLICT, detail),
            CampaignError::TotalTooLarge => Self::invalid("amount", detail),
            CampaignError::Ledger(error) => error.into(),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Self::ledger_unavailable(RequestId::new(), &error)
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        tracing::error!(%error, "log call failed");
        Self::new(LOG_UNAVAILABLE, "the log is unavailable: retry later")
    }
}

pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes <= HEADER_BYTES_MAX { Ok(()) } else { Err(Problem::headers_too_large()) }
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::new(NOT_FOUND, format!("no resource at {}", uri.path()))
}

pub(super) async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> Problem {
    Problem::new(METHOD_NOT_ALLOWED, format!("{} does not support {method}", uri.path()))
}

/// Replaces an error in plain text, as axum writes it, by problem details.
pub(super) async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|content_type| content_type.as_bytes().starts_with(b"text/plain"));
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if status.is_server_error() {
        return Problem::internal().into_response();
    }
    let text = to_bytes(response.into_body(), DETAIL_BYTES_MAX).await.unwrap_or_default();
    Problem::malformed(String::from_utf8_lossy(&text)).into_response()
}
