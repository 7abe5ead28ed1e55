//! Named tokens of the admin listener.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::http::{AdminRole, TokenOptions};

use crate::harness::{Files, Fixture, built, eventually};

const READ: &str = "the token of a dashboard";
const OPERATE: &str = "the token of an operator";

const DEFAULT: &str = "/admin/pipeline";
const OF_A_COUPON: &str = "/admin/coupons/104/pipeline";

/// With a token that may only read, and one that may do everything.
async fn start() -> Fixture {
    start_on(Files::new()).await
}

async fn start_on(files: Files) -> Fixture {
    let token = |name: &str, role, token: &str| {
        let token_file = files.path(name);
        std::fs::write(&token_file, token).expect("writes a token");
        TokenOptions { name: name.to_owned(), role, token_file }
    };
    let tokens = vec![token("dashboard", AdminRole::Read, READ), token("anna", AdminRole::Operate, OPERATE)];
    Fixture::with(files, |config| config.admin.tokens = tokens, |ports| ports).await
}

async fn call(system: &Fixture, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let url = format!("http://{}{path}", system.running.admin);
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the listener answers");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_only_read_changes_no_pipeline() {
    let system = start().await;
    let change = || Some(json!({ "shard-picker": { "policy": "hash-user" } }));

    let (status, problem) = call(&system, READ, Method::PUT, "/admin/pipeline", change()).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::FORBIDDEN, &json!("FORBIDDEN")), "{problem}");
    assert_eq!(problem["detail"], "the token `dashboard` may only read: call with a token of the role `operate`");
    let (status, pipeline) = call(&system, READ, Method::GET, "/admin/pipeline", None).await;
    assert_eq!((status, &pipeline["generation"]), (StatusCode::OK, &json!(1)), "{pipeline}");

    let (status, published) = call(&system, OPERATE, Method::PUT, "/admin/pipeline", change()).await;
    assert_eq!((status, &published["generation"]), (StatusCode::OK, &json!(2)), "{published}");
    system.stop().await;
}

fn pick_with(policy: &str) -> Value {
    json!({ "shard-picker": { "policy": policy } })
}

/// The history of a pipeline, newest first: the source of each change, and who made it.
async fn authors(system: &Fixture, path: &str) -> Value {
    let pipeline = system.operate(Method::GET, path, None).await.body;
    let history = pipeline["history"].as_array().expect("a list");
    history.iter().map(|line| json!([line["source"], line["who"]])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_pipeline_names_the_token_of_each_change_and_survives_a_restart() {
    let system = start().await;
    for path in [DEFAULT, OF_A_COUPON] {
        let (status, published) = call(&system, OPERATE, Method::PUT, path, Some(pick_with("hash-user"))).await;
        assert_eq!(status, StatusCode::OK, "{published}");
        let published = system.operate(Method::PUT, path, Some(pick_with("weighted"))).await;
        assert_eq!(published.status, StatusCode::OK, "{}", published.body);
        let (status, published) = call(&system, OPERATE, Method::POST, &format!("{path}/rollback"), None).await;
        assert_eq!(status, StatusCode::OK, "{published}");
    }
    let removed = system.operate(Method::DELETE, OF_A_COUPON, None).await;
    assert_eq!(removed.status, StatusCode::OK, "{}", removed.body);

    let of_default = json!([["rollback", "anna"], ["admin", "local"], ["admin", "anna"], ["file", null]]);
    let of_coupon = json!([["admin", "local"], ["rollback", "anna"], ["admin", "local"], ["admin", "anna"]]);
    assert_eq!(authors(&system, DEFAULT).await, of_default);
    assert_eq!(authors(&system, OF_A_COUPON).await, of_coupon);
    let restarted = start_on(system.stop().await).await;
    assert_eq!(authors(&restarted, DEFAULT).await, of_default);
    assert_eq!(authors(&restarted, OF_A_COUPON).await, of_coupon);
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_pipeline_names_the_token_of_a_refused_change() {
    let system = start().await;
    let (status, problem) = call(&system, OPERATE, Method::PUT, DEFAULT, Some(pick_with("unknown"))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let newest = system.pipeline().await["history"][0].clone();
    assert_eq!((&newest["who"], &newest["error"]), (&json!("anna"), &problem["detail"]), "{newest}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_pipeline_names_a_promoted_rollout_and_who_started_it() {
    let system = start().await;
    for (id, path, body) in [
        (1, DEFAULT, json!({ "hooks": pick_with("weighted") })),
        (2, OF_A_COUPON, json!({ "couponId": 104, "hooks": pick_with("hash-user") })),
    ] {
        let (status, started) = call(&system, OPERATE, Method::POST, "/admin/rollouts", Some(body)).await;
        assert_eq!((status, &started["id"]), (StatusCode::CREATED, &json!(id)), "{started}");
        let promoted = system.operate(Method::POST, &format!("/admin/rollouts/{id}/promote"), None).await;
        assert_eq!(promoted.status, StatusCode::OK, "{}", promoted.body);
        let published = async || {
            let newest = system.operate(Method::GET, path, None).await.body["history"][0].clone();
            (newest["source"] == "rollout").then_some(newest)
        };
        let newest = eventually("the candidate is published", published).await;
        assert_eq!((&newest["who"], &newest["rollout"]), (&json!("anna"), &json!(id)), "{newest}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_the_policies_names_who_uploaded_each_version() {
    let system = start().await;
    let url = format!("http://{}/admin/policies?name=hers", system.running.admin);
    let upload = reqwest::Client::new().post(url).bearer_auth(OPERATE).body(built("quota"));
    assert_eq!(upload.send().await.expect("the listener answers").status(), StatusCode::CREATED);
    assert_eq!(system.upload("ours", built("quota")).await.status, StatusCode::CREATED);
    let (_, listed) = call(&system, READ, Method::GET, "/admin/policies", None).await;
    for (name, source, who) in
        [("hers", "admin", json!("anna")), ("ours", "admin", json!("local")), ("quota", "folder", json!(null))]
    {
        let line = listed.as_array().and_then(|lines| lines.iter().find(|line| line["name"] == name));
        let line = line.expect("is listed");
        assert_eq!((&line["source"], &line["who"]), (&json!(source), &who), "{line}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_rollout_names_the_token_of_each_step() {
    let system = start().await;
    let rollout = Some(json!({ "hooks": { "shard-picker": { "policy": "hash-user" } } }));
    let (status, started) = call(&system, OPERATE, Method::POST, "/admin/rollouts", rollout).await;
    assert_eq!((status, &started["startedBy"]), (StatusCode::CREATED, &json!("anna")), "{started}");
    let (status, aborted) = call(&system, OPERATE, Method::POST, "/admin/rollouts/1/abort", None).await;
    assert_eq!((status, &aborted["status"]["by"]), (StatusCode::OK, &json!("anna")), "{aborted}");
    let history = aborted["history"].as_array().expect("a list");
    assert!(history.iter().all(|step| step["who"] == "anna"), "{aborted}");
    system.stop().await;
}
