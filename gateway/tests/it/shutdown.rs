//! Killed, stopped and starved of disk: nothing accepted is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::checker::Reply;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Launch, Process, eventually, machine};

/// The moments of the kills are the same in every run.
const SEED: u64 = 30;
const KILLS: usize = 30;
/// Longest life between two kills.
const LIFE_MAX_MS: u64 = 900;
const PER_SECOND: f64 = 1_500.0;
/// A request without an answer is tried again under its key, until there is one.
const RETRY_EVERY: Duration = Duration::from_millis(50);
const WITHIN: Duration = Duration::from_secs(30);

/// Asks until there is an answer, if there is a key to ask again under.
async fn insist(crowd: Crowd, user: u64) {
    let key = user.is_multiple_of(2).then(|| format!("request of user {user}"));
    loop {
        let reply = crowd.ask_under(user, key.clone()).await;
        let is_over = matches!(reply, Reply::Accepted(_) | Reply::Refused { .. });
        if is_over || key.is_none() {
            return;
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// People come until they are told to stop.
async fn people_come(crowd: Crowd, stop: Arc<AtomicBool>) {
    let come = (1..).take_while(|_| !stop.load(Ordering::Relaxed));
    crate::load::open(PER_SECOND, come, |user| insist(crowd.clone(), user)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_kills_under_load_lose_nothing_and_change_no_outcome() {
    machine::exclusive();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut gateway = Gateway::start().await;
    // Less stock than people, so that the end of it falls among the kills.
    let campaign = Campaign::of(20_000, 8);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let stop = Arc::new(AtomicBool::new(false));
    let coming = tokio::spawn(people_come(crowd.clone(), Arc::clone(&stop)));
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..LIFE_MAX_MS))).await;
        gateway.kill().await;
        gateway.start_again().await;
        let mut receipts = crowd.history.receipts();
        let from = receipts.len().saturating_sub(300);
        crowd.history.glance(&gateway.client, receipts.split_off(from)).await;
    }
    stop.store(true, Ordering::Relaxed);
    coming.await.expect("people do not panic");
    println!("{KILLS} kills (seed {SEED}): {}", crowd.latencies());
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_answers_what_is_under_way_and_loses_nothing() {
    machine::exclusive();
    let mut gateway = Gateway::start().await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let rushing = crowd.clone();
    let people = tokio::spawn(async move { rushing.rush(64, 1..=40_000).await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    gateway.stop().await;
    people.await.expect("people do not panic");

    gateway.start_again().await;
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_under_way_when_it_stops_is_answered() {
    let mut gateway = Gateway::start().await;
    // It holds every request for two seconds: all of them are under way when the stop comes.
    gateway.suffer("rate-shaper", "stall").await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let rushing = crowd.clone();
    let people = tokio::spawn(async move { rushing.rush(50, 1..=50).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.terminate();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(crowd.ask(51).await, Reply::NotSent, "nobody new is let in");
    people.await.expect("people do not panic");
    assert_eq!(gateway.ended().await.code, Some(0));

    gateway.start_again().await;
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued()), (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_request_is_in_good_order() {
    let mut gateway = Gateway::start().await;
    let begun = Instant::now();
    let log = gateway.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
    let last = log.last().expect("it says something");
    assert_eq!(last["message"], "stopped", "{last}");
    assert!(log.iter().all(|line| line["level"] == "INFO"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused_with_a_clear_message() {
    let gateway = Gateway::start().await;
    let elsewhere = [("HTTP__LISTEN", "127.0.0.1:0"), ("ADMIN__LISTEN", "127.0.0.1:0")];
    let second = Launch::with(&elsewhere).command(gateway.home.path(), &["serve", "--config", "sluice.toml"]);
    let ended = Process::run(second, WITHIN).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let expected = "sluice: log.url: another sluice process has `data/log` open: stop it, or set a different log.url";
    assert_eq!(ended.stderr.trim_end(), expected);
    assert!(Crowd::before(&gateway, 104).ask(1).await.is_accepted(), "the first one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = gateway.http.to_string();
    let second = Launch::with(&[("HTTP__LISTEN", &taken)]).command(folder.path(), &["serve"]);
    let ended = Process::run(second, WITHIN).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let expected = format!("sluice: http.listen: listen on {taken}: Address already in use (os error 98)");
    assert_eq!(ended.stderr.trim_end(), expected);
}

/// In blocks of 512 bytes: room for the policies and a few thousand requests.
const SMALL_DISK_BLOCKS: u64 = 4 * 1024;

/// Asks until the log cannot be written.
async fn fill(crowd: &Crowd, from: u64) -> u64 {
    for user in from..from + 100_000 {
        if let Reply::Refused { status, reason, .. } = crowd.ask(user).await {
            assert_eq!((status, &*reason), (503, "LOG_UNAVAILABLE"));
            return user;
        }
    }
    panic!("the disk never filled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_with_503_and_loses_nothing() {
    machine::exclusive();
    let mut gateway = Gateway::launch(Launch::on_a_full_disk(SMALL_DISK_BLOCKS)).await;
    let campaign = Campaign::of(200_000, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let user = fill(&crowd, 1).await;
    let refused = gateway.client.post("/coupon/issue", crate::harness::payload(user + 1, campaign.coupon)).await;
    assert_eq!(refused.refusal(), (503, "LOG_UNAVAILABLE".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(gateway.client.get("/readyz").await.status, 503, "no new traffic is wanted");
    assert_eq!(gateway.client.get("/livez").await.status, 200, "a restart would not help");

    gateway.kill().await;
    gateway.start_again_as(Launch::default()).await;
    assert!(crowd.ask(user).await.is_accepted(), "who was refused may come again");
    crowd.verdict(&gateway, campaign).await.assert_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_room_again_is_written_again_with_nothing_to_do_by_hand() {
    machine::exclusive();
    let gateway = Gateway::launch(Launch::on_a_full_disk(1 << 30)).await;
    let campaign = Campaign::of(200_000, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    crowd.rush(16, 1..=1_000).await;
    gateway.limit_files(Some(64 * 1024));
    let user = fill(&crowd, 1_001).await;
    gateway.limit_files(None);
    let accepted = async || crowd.ask(user).await.is_accepted().then_some(());
    eventually("requests are accepted again", WITHIN, accepted).await;
    assert_eq!(gateway.client.get("/readyz").await.status, 200);
    crowd.verdict(&gateway, campaign).await.assert_holds();
}
