//! A background task that panics ends the process in good order, and a restart continues where it stopped.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Cluster, Gateway, Launch, eventually, payload};

const COUPON: u64 = 104;
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Waits for the exit after a failed task and asserts how it is reported.
async fn assert_exits_because_of(gateway: &mut Gateway, task: &str) {
    let exit = gateway.wait_for_exit().await;
    assert_eq!(exit.code, Some(1), "{exit}");
    assert!(exit.stderr.contains(&format!("sluice: task `{task}")), "{exit}");
    let log = exit.log();
    let reported = log.iter().find(|line| line["message"] == "background task failed").expect("the failure is logged");
    assert_eq!(reported["level"], "ERROR", "{reported}");
    assert!(reported["task"].as_str().is_some_and(|name| name.starts_with(task)), "{reported}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_task_that_panics_fails_readiness_and_its_record_settles_after_a_restart() {
    let mut gateway = Gateway::launch(Launch::with(&[]).with_panic_in("settlement")).await;
    let answer = gateway.client.post("/coupon/issue", payload(1, COUPON)).await;
    assert_eq!(answer.status, 202, "{answer}");
    let status_url = answer.json()["statusUrl"].as_str().expect("a status URL").to_owned();
    // A call in progress keeps the process in its drain, in which readiness can be read.
    let client = gateway.client.clone();
    let waiting = format!("{status_url}&wait=5s");
    let in_progress = tokio::spawn(async move { client.get(&waiting).await });
    let not_ready = eventually("readiness fails", NOTICED_WITHIN, async || {
        let ready = gateway.operator.get("/readyz").await;
        (ready.status == 503).then(|| ready.json())
    })
    .await;
    let tasks = not_ready["tasks"].as_str().expect("a text");
    assert!(tasks.starts_with("background task `settlement of partition "), "{not_ready}");
    in_progress.await.expect("the call is answered or cut");
    assert_exits_because_of(&mut gateway, "settlement of partition ").await;

    gateway.restart_as(Launch::default()).await;
    let status = gateway.client.get(&format!("{status_url}&wait=10s")).await.json();
    assert_eq!(status["status"], json!("ISSUED"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_drain_after_a_failed_task_keeps_exit_code_1() {
    let mut gateway = Gateway::launch(Launch::with(&[]).with_panic_in("settlement")).await;
    let answer = gateway.client.post("/coupon/issue", payload(1, COUPON)).await;
    let waiting = format!("{}&wait=10s", answer.json()["statusUrl"].as_str().expect("a status URL"));
    let client = gateway.client.clone();
    let in_progress = tokio::spawn(async move { client.get(&waiting).await });
    eventually("the drain begins", NOTICED_WITHIN, async || {
        (!gateway.log_lines("shutting down because a task failed; requests in progress finish").is_empty())
            .then_some(())
    })
    .await;
    gateway.terminate();
    assert_exits_because_of(&mut gateway, "settlement of partition ").await;
    in_progress.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_writer_that_panics_accepts_nothing_and_ends_the_process() {
    let mut gateway = Gateway::launch(Launch::with(&[]).with_panic_in("log writer")).await;
    let answer = gateway.client.post("/coupon/issue", payload(1, COUPON)).await;
    assert_eq!(answer.status, 503, "{answer}");
    assert_exits_because_of(&mut gateway, "log writer").await;
    gateway.restart_as(Launch::default()).await;
    assert_eq!(gateway.client.post("/coupon/issue", payload(1, COUPON)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampler_that_panics_ends_the_process() {
    let mut gateway = Gateway::launch(Launch::with(&[]).with_panic_in("sampler")).await;
    assert_exits_because_of(&mut gateway, "sampler").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_poller_that_panics_ends_the_process_and_the_other_processes_go_on() {
    let mut cluster = Cluster::start(2, 1).await;
    cluster.gateways[1].stop().await;
    cluster.gateways[1].restart_with_panic_in("ledger poller").await;
    assert_exits_because_of(&mut cluster.gateways[1], "ledger poller").await;
    assert_eq!(cluster.gateways[0].operator.get("/readyz").await.status, 200);
    cluster.tear_down().await;
}
