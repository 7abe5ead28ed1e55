//! Invalid requests and their exact problem details.

mod case;
mod issue_cases;
mod other_cases;

use crate::harness::{Campaign, Gateway};
use case::Case;

async fn assert_refused(gateway: &Gateway, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(case.differs(gateway).await);
    }
    assert!(wrong.is_empty(), "{} of {} cases have another answer:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_issue_request_gets_its_problem_details() {
    let gateway = Gateway::start().await;
    let cases = [issue_cases::types_and_ranges(), issue_cases::broken_json(), issue_cases::headers_and_size()];
    let cases: Vec<_> = cases.into_iter().flatten().collect();
    let malformed = cases.len() as f64;
    assert_refused(&gateway, cases).await;

    let metrics = gateway.metrics().await;
    assert_eq!(metrics.value("sluice_issue_requests_total", &[("outcome", "accepted")]), 0.0);
    let refused = metrics.sum("sluice_issue_requests_total", &[]);
    assert!(refused <= malformed && refused > 0.0, "{refused}");
    assert_eq!(metrics.sum("sluice_settled_total", &[]), 0.0, "no invalid request reached settlement");
    assert_eq!(gateway.lag().await, 0.0, "no invalid request reached the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_status_and_admin_call_gets_its_problem_details() {
    let gateway = Gateway::start().await;
    gateway.create(Campaign::of(10, 2)).await;
    let cases = [other_cases::paths_and_methods(), other_cases::statuses(), other_cases::campaigns()];
    assert_refused(&gateway, cases.into_iter().flatten().collect()).await;
    assert_refused(&gateway, other_cases::pipelines()).await;
    assert_eq!(gateway.pipeline().await["generation"], 1, "the pipeline is unchanged");
    assert_eq!(gateway.audit(Campaign::of(10, 2).coupon).await.total, 10, "the campaign is unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_but_valid_requests_are_accepted() {
    let gateway = Gateway::start().await;
    for (user, body) in (1..).zip(issue_cases::unusual_but_valid()) {
        let answer = gateway.client.post("/coupon/issue", body.for_user(user).text()).await;
        assert_eq!(answer.status, 202, "{}: {answer}", body.text());
    }
}
