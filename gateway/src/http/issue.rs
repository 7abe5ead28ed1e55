//! `POST /coupon/issue`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Type};
use utoipa::{IntoResponses, ToSchema};

use super::error::Problem;
use super::openapi::problems;
use super::problem_type::{
    CLOSED, COUPON_NOT_FOUND, IDEMPOTENCY_CONFLICT, LEDGER_UNAVAILABLE, LOG_UNAVAILABLE, NOT_OPEN, PAUSED,
    POLICY_UNAVAILABLE, ProblemType, RATE_LIMITED, SOLD_OUT, USER_LIMIT,
};
use super::state::ApiState;
use super::status::RequestState;
use super::whole::Whole;
use super::{idempotency, json};
use crate::admission::{Receipt, Submission};
use crate::coupon::{CouponId, DecidedBy, IssueRequest, PolicyId, RequestId, Terms, UserId, now_ms};
use crate::telemetry::IssueAnswered;

/// What decided, in its text form.
const GENERATION: HeaderName = HeaderName::from_static("sluice-generation");
const TYPE_CHARACTERS_MAX: usize = 64;

/// In the shop's currency.
type Amount = Whole<u64, 0, { u64::MAX }>;
type Days = Whole<u32, 0, { u32::MAX as u64 }>;

/// A request for a coupon. The fields named `…Snapshot` and `expiredAt` are the terms that the client saw; they are
/// stored with the outcome. Other fields are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"userId": 48213, "couponId": 104, "policyId": 21, "typeSnapshot": "FIXED"}))]
struct IssueBody {
    user_id: UserId,
    coupon_id: CouponId,
    policy_id: PolicyId,
    /// The discount type, such as `FIXED`.
    #[schema(min_length = 1, max_length = 64)]
    type_snapshot: String,
    /// In percent.
    #[schema(minimum = 0, maximum = 100)]
    discount_rate_snapshot: Option<f64>,
    /// In the shop's currency.
    discount_amount_snapshot: Option<Amount>,
    /// In the shop's currency.
    minimum_order_amount_snapshot: Option<Amount>,
    /// In days.
    usage_period_snapshot: Option<Days>,
    /// A date and time in the shop's own calendar, without a zone.
    #[serde(default, deserialize_with = "zoneless")]
    #[schema(value_type = Option<String>, format = "date-time-local", example = "2025-12-31T23:59:59")]
    expired_at: Option<jiff::civil::DateTime>,
}

/// `expiredAt` has no zone: it is a date and time in the shop's own calendar.
fn zoneless<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::civil::DateTime>, D::Error> {
    let expected = "expected a date and time without a zone, such as 2025-12-31T23:59:59";
    Option::<String>::deserialize(deserializer)?
        .map(|text| parse_zoneless(&text).ok_or_else(|| serde::de::Error::custom(expected)))
        .transpose()
}

/// jiff's own parser of civil times drops an offset and a zone name.
fn parse_zoneless(text: &str) -> Option<jiff::civil::DateTime> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let has_zone = pieces.offset().is_some() || pieces.time_zone_annotation().is_some();
    if has_zone { None } else { text.parse().ok() }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiptBody {
    request_id: RequestId,
    /// `PENDING`, or the outcome of an earlier request under the same `Idempotency-Key`.
    status: RequestState,
    /// Where to ask for the outcome, relative to any gateway.
    #[schema(format = "uri-reference")]
    status_url: String,
}

/// Refusals by admission, which say what decided.
const REFUSALS: &[ProblemType] = &[
    COUPON_NOT_FOUND,
    CLOSED,
    NOT_OPEN,
    PAUSED,
    SOLD_OUT,
    IDEMPOTENCY_CONFLICT,
    RATE_LIMITED,
    USER_LIMIT,
    LEDGER_UNAVAILABLE,
    LOG_UNAVAILABLE,
    POLICY_UNAVAILABLE,
];

struct IssueProblems;

impl IntoResponses for IssueProblems {
    fn responses() -> problems::Responses {
        let lists = [problems::EVERY_CALL, problems::BODY, problems::JSON, REFUSALS];
        let mut responses = problems::responses(&lists.concat());
        for refusal in REFUSALS {
            if let Some(RefOr::T(response)) = responses.get_mut(refusal.status.as_str()) {
                let header = problems::header(Type::String, "The generation that decided: `7`, or `7;arm=canary`.");
                response.headers.insert(GENERATION.to_string(), RefOr::T(header));
            }
        }
        responses
    }
}

/// Ask for a coupon
///
/// A 202 means that the request is durable and will have exactly one outcome. Repeat a request with the same
/// `Idempotency-Key` and body as often as you like: all answers have the same `requestId`.
#[utoipa::path(
    post, path = "/coupon/issue", tag = "coupons", operation_id = "issueCoupon",
    params(idempotency::KeyHeader),
    request_body = IssueBody,
    responses(
        (status = 202, description = "The request is durable. Ask for its outcome at `statusUrl`.", body = ReceiptBody,
            headers(
                ("Location" = String, description = "The same as `statusUrl`."),
                ("sluice-generation" = String, description = "The generation that decided: `7`, or `7;arm=canary`."),
            ),
            links(("outcome" = (
                operation_id = "getOutcome",
                parameters(("requestId" = "$response.body#/requestId")),
                description = "`statusUrl` has the query too."
            )))
        ),
        IssueProblems,
    )
)]
pub(super) async fn issue(State(api): State<Arc<ApiState>>, request: Request<Body>) -> Response {
    let begun = Instant::now();
    let answer = answer(&api, request).await;
    let outcome = match &answer {
        Ok(_) => "accepted",
        Err((_, problem)) => problem.outcome(),
    };
    api.telemetry.emit(IssueAnswered { outcome, duration: begun.elapsed() });
    match answer {
        Ok((decided_by, receipt)) => with_generation(Some(decided_by), accepted(receipt)),
        Err((decided_by, problem)) => with_generation(decided_by, problem.into_response()),
    }
}

type Answer = Result<(DecidedBy, Receipt), (Option<DecidedBy>, Problem)>;

async fn answer(api: &ApiState, request: Request<Body>) -> Answer {
    let arrived_at_ms = now_ms();
    let (parts, body) = request.into_parts();
    let before_admission = |problem| (None, problem);
    let idempotency_key = idempotency::key(&parts.headers).map_err(before_admission)?.map(<[u8]>::to_vec);
    let body: IssueBody = json::read(&parts.headers, body).await.map_err(before_admission)?;
    let submission = Submission {
        request: body.check().map_err(before_admission)?,
        idempotency_key,
        traceparent: traceparent(&parts.headers),
        arrived_at_ms,
    };
    let (decided_by, receipt) = api.admission.admit(submission).await;
    match receipt {
        Ok(receipt) => Ok((decided_by, receipt)),
        Err(refusal) => Err((Some(decided_by), refusal.into())),
    }
}

impl IssueBody {
    fn check(self) -> Result<IssueRequest, Problem> {
        let characters = self.type_snapshot.chars().count();
        if !(1..=TYPE_CHARACTERS_MAX).contains(&characters) {
            let detail = format!("`typeSnapshot`: expected 1 to {TYPE_CHARACTERS_MAX} characters, found {characters}");
            return Err(Problem::invalid("typeSnapshot", detail));
        }
        if let Some(rate) = self.discount_rate_snapshot
            && !(0.0..=100.0).contains(&rate)
        {
            let detail = format!("`discountRateSnapshot`: expected a number from 0 to 100, found {rate}");
            return Err(Problem::invalid("discountRateSnapshot", detail));
        }
        Ok(IssueRequest {
            user_id: self.user_id,
            coupon_id: self.coupon_id,
            policy_id: self.policy_id,
            terms: Terms {
                type_snapshot: self.type_snapshot,
                discount_rate_snapshot: self.discount_rate_snapshot,
                discount_amount_snapshot: self.discount_amount_snapshot.map(|Whole(amount)| amount),
                minimum_order_amount_snapshot: self.minimum_order_amount_snapshot.map(|Whole(amount)| amount),
                usage_period_snapshot: self.usage_period_snapshot.map(|Whole(days)| days),
                expired_at: self.expired_at,
            },
        })
    }
}

/// Only version 00 of W3C Trace Context is propagated.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let well_formed = text.len() == 55 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    well_formed.then(|| text.to_owned())
}

fn accepted(receipt: Receipt) -> Response {
    let Receipt { request_id, partition, offset, outcome } = receipt;
    let status_url = format!("/coupon/issue/{request_id}?partition={partition}&offset={offset}");
    let location = HeaderValue::try_from(&status_url).expect("an ASCII path");
    let body = ReceiptBody { request_id, status: outcome.into(), status_url };
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn with_generation(decided_by: Option<DecidedBy>, mut response: Response) -> Response {
    if let Some(decided_by) = decided_by {
        let value = HeaderValue::try_from(decided_by.to_string()).expect("ASCII");
        response.headers_mut().insert(GENERATION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coupon::Arm;

    #[test]
    fn an_answer_names_the_generation_and_the_canary_arm() {
        let header = |decided_by| with_generation(decided_by, Response::default()).headers().get(GENERATION).cloned();
        let of = |arm| Some(DecidedBy { generation: 7, arm });
        assert_eq!(header(of(Arm::Active)), Some(HeaderValue::from_static("7")));
        assert_eq!(header(of(Arm::Canary)), Some(HeaderValue::from_static("7;arm=canary")));
        assert_eq!(header(None), None);
    }
}
