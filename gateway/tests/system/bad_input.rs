//! Bad requests get a clear problem and change nothing.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Fixture, payload};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_field_is_named_with_what_was_expected() {
    let system = Fixture::start().await;
    let cases: [(&str, Value, &str); 8] = [
        ("userId", json!(0), "expected an integer from 1"),
        ("userId", json!("seven"), "invalid type"),
        ("couponId", Value::Null, "invalid type"),
        ("policyId", json!(22), "expected 21"),
        ("typeSnapshot", json!(""), "expected 1 to 64 characters"),
        ("discountRateSnapshot", json!(101), "expected a number from 0 to 100"),
        ("usagePeriodSnapshot", json!(-1), "invalid value"),
        ("expiredAt", json!("tomorrow"), "without a zone"),
    ];
    for (field, value, expected) in cases {
        let mut body = payload(1);
        body[field] = value;
        let answer = system.call(Method::POST, "/coupon/issue", Some(body)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {}", answer.body);
        assert_eq!(answer.body["field"], field, "{}", answer.body);
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert!(detail.contains(expected), "{field}: {detail}");
    }
    assert_eq!(system.audit(104).await["remaining"], 10_000);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_field_is_named() {
    let system = Fixture::start().await;
    for field in ["userId", "couponId", "policyId", "typeSnapshot"] {
        let mut body = payload(1);
        body.as_object_mut().expect("an object").remove(field);
        let answer = system.call(Method::POST, "/coupon/issue", Some(body)).await;
        assert_eq!((answer.status, &answer.body["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &field.into()));
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_request_is_refused_by_kind() {
    let system = Fixture::start().await;
    let json = "application/json";
    let cases: [(&str, Vec<u8>, u16, &str); 6] = [
        (json, b"{".to_vec(), 400, "MALFORMED"),
        (json, b"[1]".to_vec(), 400, "MALFORMED"),
        (json, b"{\"userId\":1,\"userId\":2}".to_vec(), 400, "MALFORMED"),
        (json, Vec::new(), 400, "MALFORMED"),
        ("text/plain", b"{}".to_vec(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (json, vec![b' '; 17 * 1024], 413, "BODY_TOO_LARGE"),
    ];
    for (content_type, body, status, reason) in cases {
        let answer = system.post_raw(content_type, body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (status, &reason.into()), "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_method_coupon_or_request_is_a_problem() {
    let system = Fixture::start().await;
    let mut unknown_coupon = payload(1);
    unknown_coupon["couponId"] = 105.into();
    let unknown_request = "/coupon/issue/00000000-0000-0000-0000-000000000000";
    let cases = [
        (Method::GET, "/nowhere", None, 404, "NOT_FOUND"),
        (Method::DELETE, "/coupon/issue", None, 405, "METHOD_NOT_ALLOWED"),
        (Method::POST, "/coupon/issue", Some(unknown_coupon), 404, "COUPON_NOT_FOUND"),
        (Method::GET, unknown_request, None, 404, "REQUEST_NOT_FOUND"),
        (Method::GET, "/admin/coupons", None, 404, "NOT_FOUND"),
    ];
    for (method, path, body, status, reason) in cases {
        let answer = system.call(method, path, body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (status, &reason.into()), "{path}");
    }
    system.stop().await;
}
