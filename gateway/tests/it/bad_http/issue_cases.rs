//! Bad requests for a coupon.

use http_body_util::Full;
use hyper::{Method, Request};

use super::case::{Body, Case};
use crate::client::post;

const ID: &str = "expected an integer from 1 to 9223372036854775807";

/// A field of the wrong type, out of its range, absent, null, or of another campaign.
pub(super) fn types_and_ranges() -> Vec<Case> {
    let with = |name, json| Body::good().with(name, json).text();
    let without = |name| Body::good().without(name).text();
    vec![
        Case::issue("no user", without("userId")).is_invalid("userId", "`userId` is missing"),
        Case::issue("no coupon", without("couponId")).is_invalid("couponId", "`couponId` is missing"),
        Case::issue("no policy", without("policyId")).is_invalid("policyId", "`policyId` is missing"),
        Case::issue("no type", without("typeSnapshot")).is_invalid("typeSnapshot", "`typeSnapshot` is missing"),
        Case::issue("nothing at all", "{}").is_invalid("userId", "`userId` is missing"),
        Case::issue("a null user", with("userId", "null")).is_invalid("userId", format!("`userId`: {ID}, found null")),
        Case::issue("a null type", with("typeSnapshot", "null"))
            .is_invalid("typeSnapshot", "`typeSnapshot`: expected a string, found null"),
        Case::issue("user 0", with("userId", "0")).is_invalid("userId", format!("`userId`: {ID}, found 0")),
        Case::issue("user -1", with("userId", "-1")).is_invalid("userId", format!("`userId`: {ID}, found -1")),
        Case::issue("user 1.5", with("userId", "1.5")).is_invalid("userId", format!("`userId`: {ID}, found 1.5")),
        Case::issue("user 2^63", with("userId", "9223372036854775808"))
            .is_invalid("userId", format!("`userId`: {ID}, found 9223372036854775808")),
        Case::issue("user 10^30", with("userId", "1000000000000000000000000000000"))
            .is_invalid("userId", format!("`userId`: {ID}, found 1e30")),
        Case::issue("a user as text", with("userId", "\"1\""))
            .is_invalid("userId", format!("`userId`: {ID}, found \"1\"")),
        Case::issue("a user as a list", with("userId", "[1]"))
            .is_invalid("userId", format!("`userId`: {ID}, found a list")),
        Case::issue("coupon 0", with("couponId", "0")).is_invalid("couponId", format!("`couponId`: {ID}, found 0")),
        Case::issue("a policy that is true", with("policyId", "true"))
            .is_invalid("policyId", format!("`policyId`: {ID}, found true")),
        Case::issue("a type that is a number", with("typeSnapshot", "7"))
            .is_invalid("typeSnapshot", "`typeSnapshot`: expected a string, found 7"),
        Case::issue("an empty type", with("typeSnapshot", "\"\""))
            .is_invalid("typeSnapshot", "`typeSnapshot`: expected 1 to 64 characters, found 0"),
        Case::issue("a long type", with("typeSnapshot", &format!("\"{}\"", "X".repeat(65))))
            .is_invalid("typeSnapshot", "`typeSnapshot`: expected 1 to 64 characters, found 65"),
        Case::issue("a rate below 0", with("discountRateSnapshot", "-0.5")).is_invalid(
            "discountRateSnapshot",
            "`discountRateSnapshot`: expected a number from 0 to 100, found -0.5",
        ),
        Case::issue("a rate above 100", with("discountRateSnapshot", "100.1")).is_invalid(
            "discountRateSnapshot",
            "`discountRateSnapshot`: expected a number from 0 to 100, found 100.1",
        ),
        Case::issue("a rate as text", with("discountRateSnapshot", "\"10\"")).is_invalid(
            "discountRateSnapshot",
            "`discountRateSnapshot`: expected a number from 0 to 100, found \"10\"",
        ),
        Case::issue("a negative amount", with("discountAmountSnapshot", "-1")).is_invalid(
            "discountAmountSnapshot",
            "`discountAmountSnapshot`: expected an integer from 0 to 18446744073709551615, found -1",
        ),
        Case::issue("an amount with a fraction", with("minimumOrderAmountSnapshot", "0.5")).is_invalid(
            "minimumOrderAmountSnapshot",
            "`minimumOrderAmountSnapshot`: expected an integer from 0 to 18446744073709551615, found 0.5",
        ),
        Case::issue("a period of 2^32 days", with("usagePeriodSnapshot", "4294967296")).is_invalid(
            "usagePeriodSnapshot",
            "`usagePeriodSnapshot`: expected an integer from 0 to 4294967295, found 4294967296",
        ),
        Case::issue("a date that does not exist", with("expiredAt", "\"2025-02-30T00:00:00\"")).is_invalid(
            "expiredAt",
            "`expiredAt`: expected a date and time without a zone such as 2025-12-31T23:59:59, found \"2025-02-30T00:00:00\"",
        ),
        Case::issue("a time with a zone", with("expiredAt", "\"2025-12-31T23:59:59Z\"")).is_invalid(
            "expiredAt",
            "`expiredAt`: expected a date and time without a zone such as 2025-12-31T23:59:59, found \"2025-12-31T23:59:59Z\"",
        ),
        Case::issue("a time that is a number", with("expiredAt", "1767225599")).is_invalid(
            "expiredAt",
            "`expiredAt`: expected a date and time without a zone such as 2025-12-31T23:59:59, found 1767225599",
        ),
        Case::issue("an unknown coupon", with("couponId", "105")).is(
            404,
            "COUPON_NOT_FOUND",
            "there is no campaign for this coupon",
        ),
        Case::issue("the policy of another coupon", with("policyId", "22"))
            .is_invalid("policyId", "coupon belongs to policy 21"),
    ]
}

/// What is no JSON object with each field once.
pub(super) fn broken_json() -> Vec<Case> {
    let malformed = |name, body: Vec<u8>, detail: &str| Case::issue(name, body).is(400, "MALFORMED", detail);
    let good = Body::good().text();
    let half = good[..good.len() / 2].as_bytes().to_vec();
    let deep = |around: &str| format!("{around}{}{}", "[".repeat(8_000), "]".repeat(8_000)).into_bytes();
    let hidden = format!("{},\"more\":{}{}}}", &good[..good.len() - 1], "[".repeat(500), "]".repeat(500));
    vec![
        malformed("an empty body", Vec::new(), "EOF while parsing a value at line 1 column 0"),
        malformed("half a body", half, "EOF while parsing a value at line 1 column 36"),
        malformed("no JSON", b"user=1".to_vec(), "expected value at line 1 column 1"),
        malformed("a comma too many", b"{\"userId\":1,}".to_vec(), "trailing comma at line 1 column 13"),
        malformed("something behind", format!("{good} 1").into_bytes(), "trailing characters at line 1 column 72"),
        malformed("a list", b"[]".to_vec(), "expected an object, found a list"),
        malformed("a number", b"7".to_vec(), "expected an object, found 7"),
        malformed("null", b"null".to_vec(), "expected an object, found null"),
        malformed(
            "a field twice",
            Body::good().and("userId", "2").text().into_bytes(),
            "duplicate field `userId` at line 1 column 79",
        ),
        malformed("a depth of 8,000", deep(""), "recursion limit exceeded at line 1 column 128"),
        malformed(
            "a depth of 500 in a field nobody reads",
            hidden.into_bytes(),
            "recursion limit exceeded at line 1 column 205",
        ),
        malformed(
            "invalid UTF-8",
            [&b"{\"userId\":1,\"couponId\":104,\"policyId\":21,\"typeSnapshot\":\"\xff\xfe\"}"[..]].concat(),
            "invalid unicode code point at line 1 column 59",
        ),
        malformed(
            "half a surrogate",
            Body::good().with("typeSnapshot", r#""\ud800""#).text().into_bytes(),
            "unexpected end of hex escape at line 1 column 65",
        ),
        malformed(
            "a control character",
            Body::good().with("typeSnapshot", "\"A\u{1}\"").text().into_bytes(),
            "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 59",
        ),
    ]
}

/// The right JSON in the wrong wrapping.
pub(super) fn headers_and_size() -> Vec<Case> {
    let good = Body::good().text();
    let typed = |content_type: &str| {
        let request = Request::post("/coupon/issue").header("content-type", content_type);
        request.body(Full::new(good.clone().into())).expect("a request")
    };
    let keyed = |key: String| {
        let mut request = post("/coupon/issue", good.clone());
        request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        request
    };
    let untyped = Request::post("/coupon/issue").body(Full::new(good.clone().into())).expect("a request");
    let unsupported = |found: &str| format!("expected Content-Type application/json, found {found}");
    let too_long = format!("{good}{}", " ".repeat(16 * 1024));
    let head = "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let mut method = post("/coupon/issue", good.clone());
    *method.method_mut() = Method::PUT;
    vec![
        Case::request("no content type", untyped).is(415, "UNSUPPORTED_MEDIA_TYPE", unsupported("none")),
        Case::request("text", typed("text/plain")).is(415, "UNSUPPORTED_MEDIA_TYPE", unsupported("text/plain")),
        Case::request("a form", typed("application/x-www-form-urlencoded")).is(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            unsupported("application/x-www-form-urlencoded"),
        ),
        Case::request("an empty key", keyed(String::new())).is(
            400,
            "MALFORMED",
            "Idempotency-Key: expected 1 to 255 characters, found 0",
        ),
        Case::request("a long key", keyed("k".repeat(256))).is(
            400,
            "MALFORMED",
            "Idempotency-Key: expected 1 to 255 characters, found 256",
        ),
        Case::issue("a long body", too_long).is(
            413,
            "BODY_TOO_LARGE",
            "the body is longer than the 16384 bytes allowed",
        ),
        Case::raw("a body said to be long", format!("{head}Content-Length: 99999999\r\n\r\n")).is(
            413,
            "BODY_TOO_LARGE",
            "the body is longer than the 16384 bytes allowed",
        ),
        Case::raw(
            "a long body in chunks",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n8000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x8000)),
        )
        .is(413, "BODY_TOO_LARGE", "the body is longer than the 16384 bytes allowed"),
        Case::request("another method", method)
            .is(405, "METHOD_NOT_ALLOWED", "/coupon/issue does not take PUT")
            .with("allow", "POST"),
    ]
}

/// Odd, but right.
pub(super) fn accepted_all_the_same() -> Vec<Body> {
    let optional = [
        "discountRateSnapshot",
        "discountAmountSnapshot",
        "minimumOrderAmountSnapshot",
        "usagePeriodSnapshot",
        "expiredAt",
    ];
    let nulls = optional.iter().fold(Body::good(), |body, name| body.with(name, "null"));
    vec![
        Body::good(),
        nulls,
        Body::good().with("somethingElse", "{\"deep\":[1,2,{\"er\":null}]}"),
        Body::good().with("expiredAt", "\"1999-01-01T00:00:00\""),
        Body::good().with("discountRateSnapshot", "0"),
        Body::good().with("discountRateSnapshot", "100"),
        Body::good().with("usagePeriodSnapshot", "4294967295"),
        Body::good().with("typeSnapshot", "\"정액 할인\""),
        Body::good().with("typeSnapshot", &format!("\"{}\"", "할".repeat(64))),
        Body::good().with("userId", "1"),
    ]
}
