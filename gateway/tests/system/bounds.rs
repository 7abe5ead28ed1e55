//! Past a bound a client gets a clear answer at once.

use std::sync::Arc;

use reqwest::{Method, StatusCode};

use crate::harness::{Files, Fixture, eventually, payload};
use crate::stuck_log::StuckLog;

#[tokio::test(flavor = "multi_thread")]
async fn past_the_bound_on_requests_in_flight_the_answer_is_overloaded() {
    const IN_FLIGHT_MAX: usize = 3;
    let log = StuckLog::new();
    let replace = |ports| log.replace(ports);
    let system = Fixture::with(Files::new(), |config| config.http.in_flight_max = IN_FLIGHT_MAX, replace).await;
    let system = Arc::new(system);
    let in_flight: Vec<_> = (1..=IN_FLIGHT_MAX as u64)
        .map(|user| {
            let system = Arc::clone(&system);
            tokio::spawn(async move { system.issue(user).await.status })
        })
        .collect();
    eventually("every place is taken", async || (log.waiting() == IN_FLIGHT_MAX).then_some(())).await;
    let refused = system.issue(9).await;
    assert_eq!((refused.status, &refused.body["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &"OVERLOADED".into()));
    assert!(refused.headers.contains_key("retry-after"));
    log.acknowledge();
    for accepted in in_flight {
        assert_eq!(accepted.await.expect("answered"), StatusCode::ACCEPTED);
    }
    let status = Arc::into_inner(system).expect("the only one").stop_without_settling().await;
    assert_eq!(status, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_beyond_255_characters_is_refused() {
    let system = Fixture::start().await;
    let address = system.running.http.expect("a gateway");
    for (length, status) in [(255, StatusCode::ACCEPTED), (256, StatusCode::BAD_REQUEST), (0, StatusCode::BAD_REQUEST)]
    {
        let request = reqwest::Client::new()
            .request(Method::POST, format!("http://{address}/coupon/issue"))
            .header("idempotency-key", "k".repeat(length))
            .json(&payload(1));
        assert_eq!(request.send().await.expect("an answer").status(), status, "{length} characters");
    }
    system.stop().await;
}
