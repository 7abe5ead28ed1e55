//! Invalid calls other than `POST /coupon/issue`.

use http_body_util::Full;
use hyper::{Method, Request};

use super::case::Case;
use crate::harness::Campaign;

const HUGE: &str = "1000000000000000000000000000000";

fn get(path: &str) -> Request<Full<hyper::body::Bytes>> {
    Request::get(path).body(Full::default()).expect("a request")
}

pub(super) fn paths_and_methods() -> Vec<Case> {
    vec![
        Case::request("nowhere", get("/nowhere")).is(404, "NOT_FOUND", "no resource at /nowhere"),
        Case::request("the root", get("/")).is(404, "NOT_FOUND", "no resource at /"),
        Case::request("GET where one posts", get("/coupon/issue"))
            .is(405, "METHOD_NOT_ALLOWED", "/coupon/issue does not support GET")
            .with("allow", "POST"),
        Case::request("POST to a status", crate::client::post("/coupon/issue/x", ""))
            .is(405, "METHOD_NOT_ALLOWED", "/coupon/issue/x does not support POST")
            .with("allow", "GET,HEAD"),
        Case::admin("DELETE of a campaign", Method::DELETE, "/admin/coupons/104", "")
            .is(405, "METHOD_NOT_ALLOWED", "/admin/coupons/104 does not support DELETE")
            .with("allow", "GET,HEAD"),
        Case::admin("a coupon that is no text", Method::GET, "/admin/coupons/%ff", "").is(
            400,
            "MALFORMED",
            "Invalid URL: Invalid UTF-8 in `couponId`",
        ),
        Case::admin("a name twice", Method::POST, "/admin/policies?name=a&name=b", "").is(
            400,
            "MALFORMED",
            "Failed to deserialize query string: duplicate field `name`",
        ),
        Case::admin("nowhere for operators", Method::GET, "/admin/nowhere", "").is(
            404,
            "NOT_FOUND",
            "no resource at /admin/nowhere",
        ),
    ]
}

pub(super) fn statuses() -> Vec<Case> {
    let of = |query: &str| get(&format!("/coupon/issue/00000000-0000-7000-8000-000000000000{query}"));
    vec![
        Case::request("no such request", of("")).is(
            404,
            "REQUEST_NOT_FOUND",
            "unknown request: use the whole statusUrl of the 202 answer",
        ),
        Case::request("a name that is no text", get("/coupon/issue/%ff")).is(
            404,
            "REQUEST_NOT_FOUND",
            "unknown request: use the whole statusUrl of the 202 answer",
        ),
        Case::request("a name that is none", get("/coupon/issue/1")).is(
            404,
            "REQUEST_NOT_FOUND",
            "unknown request: use the whole statusUrl of the 202 answer",
        ),
        Case::request("a wait that is no time", of("?partition=0&offset=0&wait=soon")).is(
            400,
            "MALFORMED",
            "wait: expected a duration such as 10s or 500ms, found `soon`",
        ),
        Case::request("a negative wait", of("?partition=0&offset=0&wait=-1s")).is(
            400,
            "MALFORMED",
            "wait: expected a duration such as 10s or 500ms, found `-1s`",
        ),
        Case::request("a partition that is no number", of("?partition=x&offset=0")).is(
            400,
            "MALFORMED",
            "partition: expected an integer of at least 0, found `x`",
        ),
        Case::request("numbers beyond every record", of(&format!("?partition={HUGE}&offset={HUGE}&wait={HUGE}s"))).is(
            404,
            "REQUEST_NOT_FOUND",
            "unknown request: use the whole statusUrl of the 202 answer",
        ),
        Case::request("a partition with a sign", of("?partition=%2B0&offset=0")).is(
            400,
            "MALFORMED",
            "partition: expected an integer of at least 0, found `+0`",
        ),
        Case::request("an offset that is no number", of("?partition=0&offset=-1")).is(
            400,
            "MALFORMED",
            "offset: expected an integer of at least 0, found `-1`",
        ),
    ]
}

pub(super) fn campaigns() -> Vec<Case> {
    let good = Campaign { coupon: 9, ..Campaign::of(10, 2) }.json();
    let create = |name, key: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[key] = value;
        Case::admin(name, Method::POST, "/admin/coupons", body.to_string())
    };
    let change =
        |name, path: &str, body: &'static str| Case::admin(name, Method::POST, &format!("/admin/coupons/{path}"), body);
    let coupon = Campaign::of(10, 2).coupon;
    let mut backwards = good.clone();
    backwards["opensAt"] = "2030-01-02T00:00:00Z".into();
    backwards["closesAt"] = "2030-01-01T00:00:00Z".into();
    vec![
        create("a campaign of nothing", "total", 0.into())
            .invalid_in("total", "`total`: invalid value: integer `0`, expected an integer from 1 to 1000000000000 at line 1 column 65"),
        create("a campaign of too much", "total", 1_000_000_000_001_u64.into())
            .invalid_in("total", "`total`: invalid value: integer `1000000000001`, expected an integer from 1 to 1000000000000 at line 1 column 77"),
        create("no shards", "shards", 0.into())
            .invalid_in("shards", "`shards`: invalid value: integer `0`, expected an integer from 1 to 256 at line 1 column 55"),
        create("too many shards", "shards", 257.into())
            .invalid_in("shards", "`shards`: invalid value: integer `257`, expected an integer from 1 to 256 at line 1 column 57"),
        create("a limit of 0", "perUserLimit", 0.into())
            .invalid_in("perUserLimit", "`perUserLimit`: invalid value: integer `0`, expected an integer from 1 to 2147483647 at line 1 column 30"),
        create("a coupon as text", "couponId", "9".into())
            .invalid_in("couponId", "`couponId`: invalid type: string \"9\", expected u64 at line 1 column 15"),
        create("an unknown key", "totl", 1.into()).invalid_in(
            "totl",
            "`totl`: unknown field `totl`, expected one of `couponId`, `policyId`, `total`, `shards`, `perUserLimit`, \
             `opensAt`, `closesAt`, `group` at line 1 column 73",
        ),
        create("a time without a zone", "opensAt", "2030-01-01T00:00:00".into()).invalid_in(
            "opensAt",
            "`opensAt`: failed to find offset component, which is required for parsing a timestamp at line 1 column 45",
        ),
        Case::admin("closing before opening", Method::POST, "/admin/coupons", backwards.to_string())
            .invalid_in("closesAt", "`closesAt`: expected a time after `opensAt`"),
        change("pausing nothing", "999/pause", "").is(404, "COUPON_NOT_FOUND", "no campaign for coupon 999"),
        change("pausing no number", "x/pause", "").is(404, "COUPON_NOT_FOUND", "no campaign for coupon x"),
        change("topping up nothing", "999/top-up", "{\"amount\":1}").is(
            404,
            "COUPON_NOT_FOUND",
            "no campaign for coupon 999",
        ),
        change("a top-up of 0", &format!("{coupon}/top-up"), "{\"amount\":0}")
            .invalid_in("amount", "`amount`: invalid value: integer `0`, expected an integer from 1 to 1000000000000 at line 1 column 11"),
        change("a top-up beyond the largest campaign", &format!("{coupon}/top-up"), "{\"amount\":1000000000000}")
            .invalid_in("amount", "the total would exceed 1000000000000"),
        change("a top-up of nothing said", &format!("{coupon}/top-up"), "{}")
            .invalid_in("amount", "`amount` is missing"),
        change("a top-up of half a coupon", &format!("{coupon}/top-up"), "{\"amount\":0.5}").invalid_in(
            "amount",
            "`amount`: invalid value: floating point `0.5`, expected an integer from 1 to 1000000000000 at line 1 column 13",
        ),
        change("a reshard into 0", &format!("{coupon}/reshard"), "{\"shards\":0}")
            .invalid_in("shards", "`shards`: invalid value: integer `0`, expected an integer from 1 to 256 at line 1 column 11"),
    ]
}

pub(super) fn pipelines() -> Vec<Case> {
    let put = |name, body: &'static str| Case::admin(name, Method::PUT, "/admin/pipeline", body);
    let upload =
        |name, query: &str| Case::admin(name, Method::POST, &format!("/admin/policies{query}"), "no component");
    vec![
        put("no JSON", "no").is(400, "MALFORMED", "expected a JSON object"),
        put("an unknown hook", "{\"picker\":{\"policy\":\"random\"}}").invalid_in(
            "picker",
            "`picker`: unknown field `picker`, expected one of `rate-shaper`, `user-limit`, `shard-picker` \
             at line 1 column 9",
        ),
        put("a hook as a list", "{\"shard-picker\":[\"random\"]}").invalid_in(
            "shard-picker",
            "`shard-picker`: invalid type: sequence, expected an object at line 1 column 17",
        ),
        put("a deadline of 0", "{\"shard-picker\":{\"policy\":\"random\",\"deadline_ms\":0}}").invalid_in(
            "shard-picker.deadline_ms",
            "`shard-picker.deadline_ms`: expected a whole number from 1 to 1000, found 0 at line 1 column 50",
        ),
        put("a failure that is none", "{\"shard-picker\":{\"policy\":\"random\",\"on_failure\":\"cry\"}}").invalid_in(
            "shard-picker.on_failure",
            "`shard-picker.on_failure`: unknown variant `cry`, expected one of `fallback`, `refuse`, `skip` \
             at line 1 column 53",
        ),
        put("a path for a name", "{\"shard-picker\":{\"policy\":\"../random\"}}").is(
            422,
            "POLICY_REFUSED",
            "pipeline.shard-picker.policy: expected 1 to 64 of a-z, 0-9 and -, found `../random`",
        ),
        put("a picker that may be skipped", "{\"shard-picker\":{\"policy\":\"random\",\"on_failure\":\"skip\"}}").is(
            422,
            "POLICY_REFUSED",
            "pipeline.shard-picker.on_failure: expected `fallback` or `refuse`, found `skip`: \
             a request cannot go on without a shard",
        ),
        Case::admin("a pipeline of no campaign", Method::PUT, "/admin/coupons/9/pipeline", "{}").is(
            404,
            "COUPON_NOT_FOUND",
            "no campaign for coupon 9",
        ),
        upload("an upload without a name", "").is(
            400,
            "MALFORMED",
            "expected ?name=NAME, the policy's name in a pipeline",
        ),
        upload("an upload with a path for a name", "?name=..%2Fx").is(
            422,
            "POLICY_REFUSED",
            "name: expected 1 to 64 of a-z, 0-9 and -, found `../x`",
        ),
        Case::admin("going back to nothing", Method::POST, "/admin/pipeline/rollback", "").is(
            409,
            "NOTHING_TO_ROLL_BACK",
            "no earlier pipeline is recorded: set the pipeline with PUT instead",
        ),
    ]
}
