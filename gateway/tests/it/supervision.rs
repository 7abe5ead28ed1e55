//! A background task that panics ends the process in good order, and a restart continues where it stopped.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Cluster, Gateway, Launch, eventually, payload};

const COUPON: u64 = 104;
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// A request whose body is not complete keeps the process in its drain.
pub(crate) async fn begin_request(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.home.http).await.expect("connects");
    let head =
        "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("sends");
    stream
}

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
    let in_progress = begin_request(&gateway).await;
    let answer = gateway.client.post("/coupon/issue", payload(1, COUPON)).await;
    assert_eq!(answer.status, 202, "{answer}");
    let status_url = answer.json()["statusUrl"].as_str().expect("a status URL").to_owned();
    let not_ready = eventually("readiness fails", NOTICED_WITHIN, async || {
        let ready = gateway.operator.get("/readyz").await;
        (ready.status == 503).then(|| ready.json())
    })
    .await;
    let tasks = not_ready["tasks"].as_str().expect("a text");
    assert!(tasks.starts_with("background task `settlement of partition "), "{not_ready}");
    drop(in_progress);
    assert_exits_because_of(&mut gateway, "settlement of partition ").await;

    gateway.restart_as(Launch::default()).await;
    let status = gateway.client.get(&format!("{status_url}&wait=10s")).await.json();
    assert_eq!(status["status"], json!("ISSUED"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_drain_after_a_failed_task_keeps_exit_code_1() {
    let mut gateway = Gateway::launch(Launch::with(&[]).with_panic_in("settlement")).await;
    let in_progress = begin_request(&gateway).await;
    assert_eq!(gateway.client.post("/coupon/issue", payload(1, COUPON)).await.status, 202);
    eventually("the drain begins", NOTICED_WITHIN, async || {
        (!gateway.log_lines("shutting down because a task failed; requests in progress finish").is_empty())
            .then_some(())
    })
    .await;
    gateway.terminate();
    assert_exits_because_of(&mut gateway, "settlement of partition ").await;
    drop(in_progress);
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
    // On a busy machine, a server may answer a single check too late.
    let is_ready = async || (cluster.gateways[0].operator.get("/readyz").await.status == 200).then_some(());
    eventually("the other gateway is ready", NOTICED_WITHIN, is_ready).await;
    cluster.tear_down().await;
}
