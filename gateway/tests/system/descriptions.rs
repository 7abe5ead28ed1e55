//! What a listener says about itself: its document, its page, and what the reasons of its errors mean.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use sluice::config::Role;

use crate::harness::{Files, Fixture};

fn paths(document: &Value) -> Vec<&str> {
    document["paths"].as_object().map(|paths| paths.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_describes_its_own_calls() {
    let system = Fixture::start().await;
    let public = system.call(Method::GET, "/openapi.json", None).await.body;
    let admin = system.operate(Method::GET, "/openapi.json", None).await.body;
    assert_eq!((&public["openapi"], &admin["openapi"]), (&"3.1.0".into(), &"3.1.0".into()));
    assert!(paths(&public).contains(&"/coupon/issue") && !paths(&public).contains(&"/admin/pipeline"), "{public}");
    assert!(paths(&admin).contains(&"/admin/pipeline") && !paths(&admin).contains(&"/coupon/issue"), "{admin}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_describes_no_call_that_only_a_gateway_answers() {
    let system = Fixture::with(Files::new(), |config| config.role = Role::Consumer, |ports| ports).await;
    let document = system.operate(Method::GET, "/openapi.json", None).await.body;
    assert_eq!(paths(&document), ["/livez", "/metrics", "/openapi.json", "/problems/{reason}", "/readyz"]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_a_problem_leads_to_its_explanation_on_either_listener() {
    let system = Fixture::start().await;
    let of_client = system.call(Method::GET, Fixture::UNKNOWN_REQUEST, None).await.body;
    let of_operator = system.operate(Method::GET, "/admin/coupons/9", None).await.body;
    assert_eq!(of_client["type"], "/problems/REQUEST_NOT_FOUND");
    assert_eq!(of_operator["type"], "/problems/COUPON_NOT_FOUND");
    for (address, problem) in
        [(system.running.http.expect("a gateway"), of_client), (system.running.admin, of_operator)]
    {
        let url = format!("http://{address}{}", problem["type"].as_str().expect("a reference"));
        let explanation = reqwest::get(url).await.expect("an answer").text().await.expect("text");
        assert!(explanation.contains("Status: 404") && explanation.contains("What to do:"), "{explanation}");
    }
    let nothing = system.call(Method::GET, "/problems/nothing", None).await;
    assert_eq!((nothing.status, &nothing.body["reason"]), (StatusCode::NOT_FOUND, &"NOT_FOUND".into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_refuses_a_wrong_method_with_problem_details() {
    let system = Fixture::start().await;
    for path in ["/livez", "/readyz", "/openapi.json", "/problems/SOLD_OUT"] {
        for answer in [system.call(Method::POST, path, None).await, system.operate(Method::POST, path, None).await] {
            let expected = (StatusCode::METHOD_NOT_ALLOWED, &"METHOD_NOT_ALLOWED".into());
            assert_eq!((answer.status, &answer.body["reason"]), expected, "{path}: {}", answer.body);
            assert_eq!(answer.headers["allow"], "GET,HEAD", "{path}");
        }
    }
    let answer = system.operate(Method::POST, "/docs/", None).await;
    assert_eq!(answer.body["reason"], "METHOD_NOT_ALLOWED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_has_a_page_that_needs_no_other_host() {
    let system = Fixture::start().await;
    let admin = system.running.admin;
    let page = reqwest::get(format!("http://{admin}/docs")).await.expect("an answer");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    let page = page.text().await.expect("a page");
    let files: Vec<&str> =
        page.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")).collect();
    assert!(files.len() > 3, "{page}");
    for file in &files {
        let answer = reqwest::get(format!("http://{admin}/docs/{file}")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{file}");
    }
    let script = reqwest::get(format!("http://{admin}/docs/swagger-initializer.js")).await.expect("an answer");
    let script = script.text().await.expect("text");
    assert!(script.contains("/openapi.json") && script.contains("\"validatorUrl\": \"none\""), "{script}");
    assert_eq!(system.operate(Method::GET, "/docs/nothing.js", None).await.body["reason"], "NOT_FOUND");
    assert_eq!(system.call(Method::GET, "/docs/", None).await.body["reason"], "NOT_FOUND");
    system.stop().await;
}
