//! Starts that fail: before they wait for anything, and before they create anything.

use std::net::TcpListener;
use std::time::Duration;

use sluice::app::System;
use sluice::config::Config;

use crate::harness::Files;

/// A start that waits for a server does not fail this soon.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn failure_of(config: Config) -> String {
    let started = tokio::time::timeout(AT_ONCE, System::open(config)).await.expect("fails at once");
    started.err().expect("the start is refused").to_string()
}

#[tokio::test]
async fn a_taken_port_and_an_unreadable_token_are_reported_while_kafka_is_unreachable() {
    let files = Files::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut config = files.config();
    config.log.url = "kafka://127.0.0.1:1/coupon-issue".to_owned();
    let mut without_token = config.clone();
    without_token.admin.token_file = Some(files.path("no-token"));
    config.http.listen = taken.local_addr().expect("an address");
    let failure = failure_of(config).await;
    assert!(failure.starts_with("http.listen: listen on 127.0.0.1:"), "{failure}");
    let failure = failure_of(without_token).await;
    assert!(failure.starts_with("admin.token_file: read "), "{failure}");
}

#[tokio::test]
async fn a_start_without_the_policies_creates_nothing() {
    let files = Files::new();
    let mut config = files.config();
    config.policies.dir = files.path("nowhere");
    let failure = failure_of(config).await;
    assert!(failure.contains("token-bucket.wasm: No such file"), "{failure}");
    assert!(!files.path("log").exists() && !files.path("ledger.db").exists());
}
