//! Invalid bodies, headers and sizes for `POST /coupon/issue`.

use http_body_util::Full;
use hyper::{Method, Request};

use super::case::{Body, Case};
use crate::client::post;

const ID: &str = "expected an integer from 1 to 9223372036854775807";
const HUGE: &str = "1000000000000000000000000000000";

/// A field of the wrong type, out of its range, absent, null, or of another campaign.
pub(super) fn types_and_ranges() -> Vec<Case> {
    let absent = |name, field: &'static str| {
        Case::issue(name, Body::good().without(field).text()).invalid_in(field, format!("`{field}` is missing"))
    };
    let wrong = |name, field: &'static str, json: &str, detail: &str| {
        Case::issue(name, Body::good().with(field, json).text()).invalid_in(field, format!("`{field}`: {detail}"))
    };
    let long_type = format!("\"{}\"", "X".repeat(65));
    vec![
        absent("no user", "userId"),
        absent("no coupon", "couponId"),
        absent("no policy", "policyId"),
        absent("no type", "typeSnapshot"),
        Case::issue("nothing at all", "{}").invalid_in("userId", "`userId` is missing"),
        wrong("a null user", "userId", "null", "invalid type: null, expected u64 at line 1 column 14"),
        wrong("a null type", "typeSnapshot", "null", "invalid type: null, expected a string at line 1 column 60"),
        wrong("user 0", "userId", "0", &format!("{ID} at line 1 column 11")),
        wrong("user -1", "userId", "-1", "invalid value: integer `-1`, expected u64 at line 1 column 12"),
        wrong("user 1.5", "userId", "1.5", "invalid type: floating point `1.5`, expected u64 at line 1 column 13"),
        wrong("user 2^63", "userId", "9223372036854775808", &format!("{ID} at line 1 column 29")),
        wrong("user 10^30", "userId", HUGE, "invalid type: floating point `1e+30`, expected u64 at line 1 column 41"),
        wrong("a user as text", "userId", "\"1\"", "invalid type: string \"1\", expected u64 at line 1 column 13"),
        wrong("a user as a list", "userId", "[1]", "invalid type: sequence, expected u64 at line 1 column 10"),
        wrong("coupon 0", "couponId", "0", &format!("{ID} at line 1 column 24")),
        wrong("a true policy", "policyId", "true", "invalid type: boolean `true`, expected u64 at line 1 column 42"),
        wrong("a type of 7", "typeSnapshot", "7", "invalid type: integer `7`, expected a string at line 1 column 57"),
        wrong("an empty type", "typeSnapshot", "\"\"", "expected 1 to 64 characters, found 0"),
        wrong("a long type", "typeSnapshot", &long_type, "expected 1 to 64 characters, found 65"),
        wrong("a rate below 0", "discountRateSnapshot", "-0.5", "expected a number from 0 to 100, found -0.5"),
        wrong("a rate above 100", "discountRateSnapshot", "100.1", "expected a number from 0 to 100, found 100.1"),
        wrong(
            "a rate as text",
            "discountRateSnapshot",
            "\"10\"",
            "invalid type: string \"10\", expected f64 at line 1 column 91",
        ),
        wrong(
            "a negative amount",
            "discountAmountSnapshot",
            "-1",
            "invalid value: integer `-1`, expected an integer from 0 to 18446744073709551615 at line 1 column 91",
        ),
        wrong(
            "an amount with a fraction",
            "minimumOrderAmountSnapshot",
            "0.5",
            "invalid value: floating point `0.5`, expected an integer from 0 to 18446744073709551615 at line 1 column 96",
        ),
        wrong(
            "a period of 2^32 days",
            "usagePeriodSnapshot",
            "4294967296",
            "invalid value: integer `4294967296`, expected an integer from 0 to 4294967295 at line 1 column 96",
        ),
        wrong(
            "a date that does not exist",
            "expiredAt",
            "\"2025-02-30T00:00:00\"",
            "expected a date and time without a zone, such as 2025-12-31T23:59:59 at line 1 column 98",
        ),
        wrong(
            "a time with a zone",
            "expiredAt",
            "\"2025-12-31T23:59:59Z\"",
            "expected a date and time without a zone, such as 2025-12-31T23:59:59 at line 1 column 99",
        ),
        wrong(
            "a time with an offset",
            "expiredAt",
            "\"2025-12-31T23:59:59+09:00\"",
            "expected a date and time without a zone, such as 2025-12-31T23:59:59 at line 1 column 104",
        ),
        wrong(
            "a time with the name of a zone",
            "expiredAt",
            "\"2025-12-31T23:59:59[Asia/Seoul]\"",
            "expected a date and time without a zone, such as 2025-12-31T23:59:59 at line 1 column 110",
        ),
        wrong(
            "a user as text",
            "userId",
            "\"9007199254740993\"",
            "invalid type: string \"9007199254740993\", expected u64 at line 1 column 28",
        ),
        wrong(
            "a time that is a number",
            "expiredAt",
            "1767225599",
            "invalid type: integer `1767225599`, expected a string at line 1 column 86",
        ),
        Case::issue("an unknown coupon", Body::good().with("couponId", "105").text()).is(
            404,
            "COUPON_NOT_FOUND",
            "no campaign exists for this coupon",
        ),
        Case::issue("the policy of another coupon", Body::good().with("policyId", "22").text())
            .invalid_in("policyId", "`policyId`: expected 21, the policyId of this coupon"),
    ]
}

/// Bodies that are not a JSON object with each field once.
pub(super) fn broken_json() -> Vec<Case> {
    let malformed = |name, body: &str, detail: &str| Case::issue(name, body.to_owned()).is(400, "MALFORMED", detail);
    let with_type = |json: &str| Body::good().with("typeSnapshot", json).text();
    let good = Body::good().text();
    let deep = "[".repeat(8_000);
    let in_order = r#"[1,104,21,"FIXED",10.0,1000,5000,30,"2025-12-31T23:59:59"]"#;
    let invalid_utf8 = b"{\"userId\":1,\"couponId\":104,\"policyId\":21,\"typeSnapshot\":\"\xff\xfe\"}";
    vec![
        malformed("an empty body", "", "EOF while parsing a value at line 1 column 0"),
        malformed("half a body", &good[..32], "EOF while parsing a string at line 1 column 32"),
        malformed("no JSON", "user=1", "expected value at line 1 column 1"),
        malformed("a comma too many", "{\"userId\":1,}", "trailing comma at line 1 column 13"),
        malformed("something behind", &format!("{good} 1"), "trailing characters at line 1 column 66"),
        malformed("an empty list", "[]", "expected a JSON object"),
        malformed("the values in order", in_order, "expected a JSON object"),
        malformed("a number", "7", "expected a JSON object"),
        malformed("null", "null", "expected a JSON object"),
        malformed("a depth of 8,000", &deep, "expected a JSON object"),
        malformed(
            "a field twice",
            &Body::good().and("userId", "2").text(),
            "duplicate field `userId` at line 1 column 72",
        ),
        Case::issue("invalid UTF-8", invalid_utf8.to_vec()).is(
            400,
            "MALFORMED",
            "invalid unicode code point at line 1 column 58",
        ),
        malformed("half a surrogate", &with_type(r#""\ud800""#), "unexpected end of hex escape at line 1 column 64"),
        malformed(
            "a control character",
            &with_type("\"A\u{1}\""),
            "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 59",
        ),
    ]
}

/// Valid JSON with invalid headers or of invalid size.
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
    let encoded = |encoding: &str| {
        let mut request = post("/coupon/issue", good.clone());
        request.headers_mut().insert("content-encoding", encoding.parse().expect("a header"));
        request
    };
    let not_encoded = |found: &str| format!("expected no Content-Encoding, found {found}: send the body as it is");
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
        Case::request("a compressed body", encoded("gzip"))
            .is(415, "UNSUPPORTED_MEDIA_TYPE", not_encoded("gzip"))
            .with("accept-encoding", "identity"),
        Case::request("two encodings", encoded("identity, br")).is(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            not_encoded("identity, br"),
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
        Case::issue("a long body", too_long).is(413, "BODY_TOO_LARGE", "the body exceeds the limit of 16384 bytes"),
        Case::raw("a body said to be long", format!("{head}Content-Length: 99999999\r\n\r\n")).is(
            413,
            "BODY_TOO_LARGE",
            "the body exceeds the limit of 16384 bytes",
        ),
        Case::raw(
            "a long body in chunks",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n8000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x8000)),
        )
        .is(413, "BODY_TOO_LARGE", "the body exceeds the limit of 16384 bytes"),
        Case::request("another method", method)
            .is(405, "METHOD_NOT_ALLOWED", "/coupon/issue does not support PUT")
            .with("allow", "POST"),
    ]
}

/// Unusual JSON that the contract allows.
pub(super) fn unusual_but_valid() -> Vec<Body> {
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
        Body::good().with("somethingElse", &format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
        Body::good().with("expiredAt", "\"1999-01-01T00:00:00\""),
        Body::good().with("discountRateSnapshot", "0"),
        Body::good().with("discountRateSnapshot", "100"),
        Body::good().with("usagePeriodSnapshot", "4294967295"),
        Body::good().with("typeSnapshot", "\"정액 할인\""),
        Body::good().with("typeSnapshot", &format!("\"{}\"", "할".repeat(64))),
        Body::good().with("userId", "1"),
        Body::good().with("discountAmountSnapshot", "1000.00"),
        Body::good().with("minimumOrderAmountSnapshot", "5E+3"),
        Body::good().with("usagePeriodSnapshot", "30.0"),
    ]
}
