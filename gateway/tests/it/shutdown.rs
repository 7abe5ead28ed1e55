//! Kills, graceful stops and a full disk: no accepted request is lost.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::checker::Reply;
use crate::client::Client;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Home, Launch, Process, eventually, free_address, machine};
use crate::supervision::begin_request;

/// Fixed, so that kills users at the same moments in every run.
const SEED: u64 = 30;
const KILLS: usize = 30;
/// Longest time between two kills.
const LIFE_MAX_MS: u64 = 900;
const PER_SECOND: f64 = 1_500.0;
const RETRY_EVERY: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_secs(120);

/// Only users with a key retry: without one, a retry is another request.
async fn retry_until_answered(crowd: Crowd, user: u64) {
    let key = user.is_multiple_of(2).then(|| format!("request of user {user}"));
    loop {
        let reply = crowd.request_with_key(user, key.clone()).await;
        let is_over = matches!(reply, Reply::Accepted(_) | Reply::Refused { .. });
        if is_over || key.is_none() {
            return;
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

async fn send_until_stopped(crowd: Crowd, stop: Arc<AtomicBool>) {
    let users = (1..).take_while(|_| !stop.load(Ordering::Relaxed));
    crate::load::run_open(PER_SECOND, users, |user| retry_until_answered(crowd.clone(), user)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_lose_no_accepted_request_and_change_no_outcome() {
    machine::exclusive();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut gateway = Gateway::start().await;
    // Less stock than users, so that it sells out between the kills.
    let campaign = Campaign::of(20_000, 8);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let stop = Arc::new(AtomicBool::new(false));
    let arrivals = tokio::spawn(send_until_stopped(crowd.clone(), Arc::clone(&stop)));
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..LIFE_MAX_MS))).await;
        gateway.kill().await;
        gateway.restart().await;
        let mut receipts = crowd.history.receipts();
        let from = receipts.len().saturating_sub(300);
        crowd.history.poll_once(&gateway.client, receipts.split_off(from)).await;
    }
    stop.store(true, Ordering::Relaxed);
    arrivals.await.expect("the load does not panic");
    println!("{KILLS} kills (seed {SEED}): {}", crowd.latencies());
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_under_load_loses_no_accepted_request() {
    machine::exclusive();
    let mut gateway = Gateway::start().await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let sender = crowd.clone();
    let burst = tokio::spawn(async move { sender.send_burst(64, 1..=40_000).await });
    let is_under_way = async || (crowd.history.exchanges().len() > 5_000).then_some(());
    eventually("the load is under way", TIMEOUT, is_under_way).await;
    gateway.stop().await;
    burst.await.expect("the load does not panic");

    gateway.restart().await;
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_at_shutdown_are_answered() {
    // The requests are in flight at the same time only if all arrive within two seconds.
    machine::exclusive();
    let mut gateway = Gateway::start().await;
    // The policy delays every request by two seconds, so all are in flight at the stop.
    gateway.activate_hostile("rate-shaper", "stall").await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let sender = crowd.clone();
    let burst = tokio::spawn(async move { sender.send_burst(50, 1..=50).await });
    let are_in_flight = async || (gateway.metrics().await.value("sluice_issue_in_flight", &[]) == 50.0).then_some(());
    eventually("all are in flight", TIMEOUT, are_in_flight).await;
    // Keeps the process in its drain on a machine where that takes longer than the requests.
    let incomplete = begin_request(&gateway).await;
    gateway.terminate();
    let is_refused = async || TcpStream::connect(gateway.http).await.is_err().then_some(());
    eventually("new connections are refused", TIMEOUT, is_refused).await;
    assert_eq!(crowd.request(51).await, Reply::NotSent, "new connections are refused");
    assert_eq!(gateway.operator.get("/livez").await.status, 200, "while the process drains");
    drop(incomplete);
    burst.await.expect("the load does not panic");
    assert_eq!(gateway.wait_for_exit().await.code, Some(0));

    gateway.restart().await;
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued()), (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_an_idle_gateway_within_3_seconds_without_warnings() {
    machine::exclusive();
    let mut gateway = Gateway::start().await;
    let begun = Instant::now();
    let log = gateway.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
    let last = log.last().expect("a log line");
    assert_eq!(last["message"], "stopped", "{last}");
    assert!(log.iter().all(|line| line["level"] == "INFO"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_log_fails_to_start() {
    let gateway = Gateway::start().await;
    let elsewhere = [("HTTP__LISTEN", "127.0.0.1:0"), ("ADMIN__LISTEN", "127.0.0.1:0")];
    let second = Launch::with(&elsewhere).command(gateway.home.path(), &["serve", "--config", "sluice.toml"]);
    let ended = Process::run(second, TIMEOUT).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let expected = "sluice: log.url: another sluice process has `data/log` open: stop it, or set a different log.url";
    assert_eq!(ended.stderr.trim_end(), expected);
    assert!(Crowd::at(&gateway, 104).request(1).await.is_accepted(), "the first process still serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_port_in_use_names_the_option_and_the_port() {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = gateway.http.to_string();
    let second = Launch::with(&[("HTTP__LISTEN", &taken)]).command(folder.path(), &["serve"]);
    let ended = Process::run(second, TIMEOUT).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let expected = format!(
        "sluice: http.listen: listen on {taken}: Address already in use (os error 98); stop the process that uses it, \
         or set http.listen to another port"
    );
    assert_eq!(ended.stderr.trim_end(), expected);
    assert!(!folder.path().join("data").exists(), "nothing was created");
}

/// In blocks of 512 bytes: room for the policies and a few thousand requests.
const SMALL_DISK_BLOCKS: u64 = 4 * 1024;

/// Sends requests until the disk is full, and returns the last user, who was refused.
async fn fill(crowd: &Crowd, from: u64) -> u64 {
    /// Whether a record fits into the last few pages depends on its partition.
    const IN_A_ROW: usize = 8;
    let mut refused = 0;
    for user in from..from + 100_000 {
        if let Reply::Refused { status, reason, .. } = crowd.request(user).await {
            assert_eq!((status, &*reason), (503, "LOG_UNAVAILABLE"));
            refused += 1;
        } else {
            refused = 0;
        }
        if refused == IN_A_ROW {
            return user;
        }
    }
    panic!("the disk never filled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_with_503_and_loses_no_accepted_request() {
    machine::exclusive();
    let mut gateway = Gateway::launch(Launch::with_file_size_limit(SMALL_DISK_BLOCKS)).await;
    let campaign = Campaign::of(200_000, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let user = fill(&crowd, 1).await;
    let refused = gateway.client.post("/coupon/issue", crate::harness::payload(user + 1, campaign.coupon)).await;
    assert_eq!(refused.refusal(), (503, "LOG_UNAVAILABLE".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["detail"], "the log is unavailable: retry later");
    let request_id = &refused.json()["requestId"];
    let logged = async || {
        let lines = gateway.log_lines("request failed").into_iter();
        let logged: Vec<_> = lines.filter(|line| line["request_id"] == *request_id).collect();
        (!logged.is_empty()).then_some(logged)
    };
    let logged = eventually("the cause is logged, with the request id", TIMEOUT, logged).await;
    assert_eq!(logged.len(), 1, "it is logged once");
    assert!(logged[0]["cause"].as_str().is_some_and(|cause| cause.contains("disk")), "{logged:?}");
    let unready = gateway.client.get("/readyz").await;
    assert_eq!(
        (unready.status, &unready.json()["log"]),
        (503, &"unavailable".into()),
        "the gateway takes no new traffic"
    );
    let reason = gateway.operator.get("/readyz").await.json()["log"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("disk")), "operators see why: {reason}");
    assert_eq!(gateway.client.get("/livez").await.status, 200, "a restart would not help");

    gateway.kill().await;
    gateway.restart_as(Launch::default()).await;
    assert!(crowd.request(user).await.is_accepted(), "a refused user may retry");
    crowd.verify(&gateway, campaign).await.assert_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_recovers_by_itself_when_the_disk_has_room_again() {
    machine::exclusive();
    let gateway = Gateway::launch(Launch::with_file_size_limit(1 << 30)).await;
    let campaign = Campaign::of(200_000, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    crowd.send_burst(16, 1..=1_000).await;
    gateway.limit_files(Some(64 * 1024));
    let user = fill(&crowd, 1_001).await;
    gateway.limit_files(None);
    let accepted = async || crowd.request(user).await.is_accepted().then_some(());
    eventually("requests are accepted again", TIMEOUT, accepted).await;
    assert_eq!(gateway.client.get("/readyz").await.status, 200);
    crowd.verify(&gateway, campaign).await.assert_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_drains_unless_it_was_ignored_at_the_start() {
    let mut gateway = Gateway::launch(Launch::with_hangup_at_default()).await;
    gateway.signal(Signal::HUP);
    assert_eq!(gateway.wait_for_exit().await.code, Some(0));

    let mut gateway = Gateway::launch(Launch::with_hangup_ignored()).await;
    gateway.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(gateway.client.get("/readyz").await.status, 200, "the terminal of `nohup` may close");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_log_nobody_reads_any_more_serves_changes_and_drains() {
    let home = Home::new(free_address(), free_address());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Launch::default().command(home.path(), &["serve", "--config", "sluice.toml"]);
    command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
    let mut child = command.spawn().expect("the binary starts");
    // It holds the other ends of the pipe.
    drop(command);
    let mut lines = std::io::BufReader::new(reader).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("serving"))), "it does not serve");
    drop(lines);

    let operator = Client::to(home.admin);
    assert_eq!(operator.post("/admin/coupons/104/pause", "").await.json()["state"], "PAUSED");
    let changed = operator.put("/admin/pipeline", r#"{"shard-picker":{"policy":"hash-user"}}"#).await;
    assert_eq!(changed.status, 200, "{changed}");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
