//! What a call costs Redis.

use super::shared::query;
use super::test_server::TestServer;
use super::*;

/// How many commands Redis ran since its statistics were reset, those within scripts included.
async fn commands(counters: &Redis) -> usize {
    let statistics: String = query(counters, "INFO commandstats").await;
    let calls = statistics.lines().filter(|line| !line.contains("_config|resetstat") && !line.contains("_info:"));
    let calls = calls.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<usize>().ok());
    calls.sum()
}

#[tokio::test]
async fn forgetting_rejected_requests_costs_one_command_each_and_one_call_for_many() {
    const REQUESTS: usize = 300;
    let (_server, counters) = TestServer::with_counters().await;
    let rejected: Vec<_> = (0..REQUESTS).map(|_| new_subject()).collect();
    for subject in &rejected {
        reserve(&counters, CAMPAIGN, *subject).await;
    }
    let _: ::redis::Value = query(&counters, "CONFIG RESETSTAT").await;
    counters.forget(&rejected).await.expect("counters available");
    let commands = commands(&counters).await;
    assert!(commands <= REQUESTS + 10, "{commands} commands for {REQUESTS} requests");
}
