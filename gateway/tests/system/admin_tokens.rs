//! Named tokens of the admin listener.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::http::{AdminRole, TokenOptions};

use crate::harness::{Files, Fixture};

const READ: &str = "the token of a dashboard";
const OPERATE: &str = "the token of an operator";

/// With a token that may only read, and one that may do everything.
async fn start() -> Fixture {
    let files = Files::new();
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
