//! Data that is deleted while a system runs.

use reqwest::{Method, StatusCode};

use crate::harness::{Fixture, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn deleted_data_fails_readiness_and_accepts_no_request() {
    let system = Fixture::start().await;
    system.outcome(&system.accepted(1).await).await;
    for name in ["log", "ledger.db"] {
        std::fs::remove_file(system.files.path(name)).expect("deletes");
    }
    let refused = system.issue(2).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
    let ready = eventually("the log is not ready", async || {
        let ready = system.ready().await;
        (ready.body["log"] != "ok").then_some(ready)
    });
    let ready = ready.await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{}", ready.body);
    for part in ["log", "ledger"] {
        let reason = ready.body[part].as_str().expect("a reason");
        assert!(reason.contains("was deleted or replaced while it was open: stop sluice"), "{reason}");
    }
    let refused = system.operate(Method::POST, "/admin/coupons/104/pause", None).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
    system.stop().await;
}
