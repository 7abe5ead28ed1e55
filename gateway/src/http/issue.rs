//! `POST /coupon/issue`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::state::ApiState;
use super::whole::Whole;
use super::{idempotency, json, status};
use crate::admission::{Receipt, Submission};
use crate::coupon::{CouponId, GenerationNo, IssueRequest, PolicyId, RequestId, Terms, UserId, now_ms};
use crate::telemetry::IssueAnswered;

/// The number of the policy generation that decided.
const GENERATION: HeaderName = HeaderName::from_static("sluice-generation");
const TYPE_CHARACTERS_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IssueBody {
    user_id: UserId,
    coupon_id: CouponId,
    policy_id: PolicyId,
    type_snapshot: String,
    discount_rate_snapshot: Option<f64>,
    discount_amount_snapshot: Option<Whole<u64>>,
    minimum_order_amount_snapshot: Option<Whole<u64>>,
    usage_period_snapshot: Option<Whole<u32>>,
    #[serde(default, deserialize_with = "zoneless")]
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptBody {
    request_id: RequestId,
    status: &'static str,
    status_url: String,
}

pub(super) async fn issue(State(api): State<Arc<ApiState>>, request: Request<Body>) -> Response {
    let begun = Instant::now();
    let answer = answer(&api, request).await;
    let outcome = match &answer {
        Ok(_) => "accepted",
        Err((_, problem)) => problem.outcome(),
    };
    api.telemetry.emit(IssueAnswered { outcome, duration: begun.elapsed() });
    match answer {
        Ok((generation, receipt)) => with_generation(Some(generation), accepted(receipt)),
        Err((generation, problem)) => with_generation(generation, problem.into_response()),
    }
}

type Answer = Result<(GenerationNo, Receipt), (Option<GenerationNo>, Problem)>;

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
    let (generation, receipt) = api.admission.admit(submission).await;
    match receipt {
        Ok(receipt) => Ok((generation, receipt)),
        Err(refusal) => Err((Some(generation), refusal.into())),
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
    let body = ReceiptBody { request_id, status: status::name(outcome), status_url };
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn with_generation(generation: Option<GenerationNo>, mut response: Response) -> Response {
    if let Some(generation) = generation {
        response.headers_mut().insert(GENERATION, HeaderValue::from(generation));
    }
    response
}
