//! Bad requests, each with its exact answer.

mod case;
mod issue_cases;
mod other_cases;

use crate::harness::{Campaign, Gateway};
use case::Case;

/// Sends each and lists those that are answered otherwise.
async fn assert_refused(gateway: &Gateway, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(case.differs(gateway).await);
    }
    assert!(wrong.is_empty(), "{} of {} cases are answered otherwise:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_for_a_coupon_is_refused_by_name() {
    let gateway = Gateway::start().await;
    let cases = [issue_cases::types_and_ranges(), issue_cases::broken_json(), issue_cases::headers_and_size()];
    let cases: Vec<_> = cases.into_iter().flatten().collect();
    let malformed = cases.len() as f64;
    assert_refused(&gateway, cases).await;

    let metrics = gateway.metrics().await;
    assert_eq!(metrics.value("sluice_issue_requests_total", &[("outcome", "accepted")]), 0.0);
    let refused = metrics.sum("sluice_issue_requests_total", &[]);
    assert!(refused <= malformed && refused > 0.0, "{refused}");
    assert_eq!(metrics.sum("sluice_settled_total", &[]), 0.0, "nothing of it reached settlement");
    assert_eq!(gateway.lag().await, 0.0, "nothing of it reached the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_call_elsewhere_is_refused_by_name() {
    let gateway = Gateway::start().await;
    gateway.create(Campaign::of(10, 2)).await;
    let cases = [other_cases::paths_and_methods(), other_cases::statuses(), other_cases::campaigns()];
    assert_refused(&gateway, cases.into_iter().flatten().collect()).await;
    assert_refused(&gateway, other_cases::pipelines()).await;
    assert_eq!(gateway.pipeline().await["generation"], 1, "none of it changed what decides");
    assert_eq!(gateway.audit(Campaign::of(10, 2).coupon).await.total, 10, "none of it changed a campaign");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_bad_and_is_not_is_accepted() {
    let gateway = Gateway::start().await;
    for (user, body) in (1..).zip(issue_cases::accepted_all_the_same()) {
        let answer = gateway.client.post("/coupon/issue", body.for_user(user).text()).await;
        assert_eq!(answer.status, 202, "{}: {answer}", body.text());
    }
}
