//! Requests become outcomes.

use reqwest::{Method, StatusCode};
use serde_json::json;
use sluice::config::Role;

use crate::harness::{Files, Fixture, payload};

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_request_is_issued_and_takes_one_coupon() {
    let system = Fixture::start().await;
    let outcome = system.outcome(&system.accepted(1).await).await;
    assert_eq!(outcome["status"], "ISSUED", "{outcome}");
    let audit = system.audit(104).await;
    assert_eq!((&audit["granted"], &audit["remaining"], &audit["balanced"]), (&1.into(), &9999.into(), &true.into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_of_a_user_is_refused() {
    let system = Fixture::start().await;
    system.accepted(1).await;
    let second = system.issue(1).await;
    assert_eq!((second.status, &second.body["reason"]), (StatusCode::TOO_MANY_REQUESTS, &"USER_LIMIT".into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_coupon_is_issued_and_no_more() {
    let system = Fixture::start().await;
    let campaign = serde_json::json!({ "couponId": 7, "policyId": 21, "total": 20, "shards": 4 });
    let created = system.operate(Method::POST, "/admin/coupons", Some(campaign)).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    for user in 1..=40 {
        let mut body = payload(user);
        body["couponId"] = 7.into();
        let answer = system.call(Method::POST, "/coupon/issue", Some(body)).await;
        assert!([StatusCode::ACCEPTED, StatusCode::CONFLICT].contains(&answer.status), "{}", answer.body);
        if let Some(status_url) = answer.body["statusUrl"].as_str() {
            system.outcome(status_url).await;
        }
    }
    let audit = system.audit(7).await;
    assert_eq!((&audit["granted"], &audit["remaining"], &audit["users"]), (&20.into(), &0.into(), &20.into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_accepted_without_a_consumer_are_settled_by_the_next_start() {
    let system = Fixture::gateway_only(Files::new()).await;
    let status_url = system.accepted(1).await;
    let waiting = system.call(Method::GET, &status_url, None).await;
    assert_eq!((&waiting.body["status"], &waiting.body["position"]), (&"PENDING".into(), &1.into()));
    let files = system.stop().await;
    let system = Fixture::with(files, |_| {}, |ports| ports).await;
    assert_eq!(system.outcome(&status_url).await["status"], "ISSUED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_needs_no_policies_and_serves_metrics_and_probes_only() {
    let files = Files::new();
    let empty = files.path("no-policies");
    let configure = |config: &mut sluice::config::Config| {
        config.role = Role::Consumer;
        config.policies.dir = empty;
    };
    let system = Fixture::with(files, configure, |ports| ports).await;
    assert_eq!(system.running.http, None);
    let ready = system.ready().await;
    assert_eq!((ready.status, &ready.body["generation"]), (StatusCode::OK, &serde_json::Value::Null));
    assert!(system.metrics().await.contains("sluice_log_lag_records"));
    let pipeline = system.operate(Method::GET, "/admin/pipeline", None).await;
    assert_eq!(pipeline.status, StatusCode::NOT_FOUND);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_systems_in_one_process_share_nothing() {
    let (one, other) = (Fixture::start().await, Fixture::start().await);
    one.outcome(&one.accepted(1).await).await;
    let accepted = |metrics: &str| metrics.contains("sluice_issue_requests_total{outcome=\"accepted\"} 1");
    assert!(accepted(&one.metrics().await));
    assert!(!accepted(&other.metrics().await));
    assert_eq!(other.audit(104).await["granted"], 0);
    one.stop().await;
    other.outcome(&other.accepted(1).await).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_allows_three_coupons_per_user_grants_three() {
    let system = Fixture::start().await;
    let campaign = json!({ "couponId": 9, "policyId": 21, "total": 10, "perUserLimit": 3 });
    let created = system.operate(Method::POST, "/admin/coupons", Some(campaign)).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    let mut request = payload(1);
    request["couponId"] = 9.into();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(system.call(Method::POST, "/coupon/issue", Some(request.clone())).await);
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [202, 202, 202, 429]);
    for answer in &answers[..3] {
        let outcome = system.outcome(answer.body["statusUrl"].as_str().expect("a status URL")).await;
        assert_eq!(outcome["status"], "ISSUED", "{outcome}");
    }
    system.stop().await;
}
