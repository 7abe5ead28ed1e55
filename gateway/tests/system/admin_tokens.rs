//! Named tokens of the admin listener.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::http::{AdminRole, TokenOptions};

use crate::harness::{Files, Fixture};

const READ: &str = "the token of a dashboard";
const OPERATE: &str = "the token of an operator";

async fn call(system: &Fixture, token: &str, method: Method, body: Option<Value>) -> (StatusCode, Value) {
    let url = format!("http://{}/admin/pipeline", system.running.admin);
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the listener answers");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_only_read_changes_no_pipeline() {
    let files = Files::new();
    let token = |name: &str, role, token: &str| {
        let token_file = files.path(name);
        std::fs::write(&token_file, token).expect("writes a token");
        TokenOptions { name: name.to_owned(), role, token_file }
    };
    let tokens = vec![token("dashboard", AdminRole::Read, READ), token("anna", AdminRole::Operate, OPERATE)];
    let system = Fixture::with(files, |config| config.admin.tokens = tokens, |ports| ports).await;
    let change = || Some(json!({ "shard-picker": { "policy": "hash-user" } }));

    let (status, problem) = call(&system, READ, Method::PUT, change()).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::FORBIDDEN, &json!("FORBIDDEN")), "{problem}");
    assert_eq!(problem["detail"], "the token `dashboard` may only read: call with a token of the role `operate`");
    let (status, pipeline) = call(&system, READ, Method::GET, None).await;
    assert_eq!((status, &pipeline["generation"]), (StatusCode::OK, &json!(1)), "{pipeline}");

    let (status, published) = call(&system, OPERATE, Method::PUT, change()).await;
    assert_eq!((status, &published["generation"]), (StatusCode::OK, &json!(2)), "{published}");
    system.stop().await;
}
