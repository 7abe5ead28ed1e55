//! One fault at a time on real servers, and what exactly follows from it.

use std::time::Duration;

use rustix::process::Signal;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, eventually, machine, service};

/// Kafka chooses new leaders within this time, also on a busy machine.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);
/// Longer than the consumer group's session.
const SESSION_OVER: Duration = Duration::from_secs(13);

/// A cluster with a campaign that all its gateways know, and a crowd before the first.
async fn before(gateways: usize, consumers: usize, campaign: Campaign) -> (Cluster, Crowd) {
    let cluster = Cluster::start(gateways, consumers).await;
    let coupon = cluster.gateways[0].create(campaign).await;
    cluster.hears_of(coupon).await;
    let crowd = Crowd::before(&cluster.gateways[0], coupon);
    (cluster, crowd)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_broker_of_three_nothing_is_accepted_and_with_two_it_goes_on() {
    machine::exclusive();
    let campaign = Campaign::of(1_000, 12);
    let (cluster, crowd) = before(1, 1, campaign).await;
    crowd.rush(16, 1..=200).await;
    assert_eq!(crowd.history.receipts().len(), 200);

    service("kill", "kafka-2").await;
    service("kill", "kafka-3").await;
    crowd.rush(24, 201..=224).await;
    let receipts = crowd.history.receipts().len();
    let refused = crowd.refused_users();
    service("start", "kafka-2").await;
    let gateway = &cluster.gateways[0];
    let is_ready = async || (gateway.client.get("/readyz").await.status == 200).then_some(());
    eventually("two brokers are enough", RECOVERED_WITHIN, is_ready).await;
    crowd.rush(16, 301..=400).await;
    service("start", "kafka-3").await;

    assert_eq!((receipts, refused.len()), (200, 24), "a 202 needs two in-sync replicas");
    let report = crowd.verdict(gateway, campaign).await;
    report.assert_holds();
    assert!(report.refused.keys().all(|(status, reason)| (*status, reason.as_str()) == (503, "LOG_UNAVAILABLE")));
    assert_eq!(report.accepted, 300, "{report}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_delivered_twice_are_settled_once_and_poison_is_put_aside() {
    let campaign = Campaign::of(3_000, 12);
    let (mut cluster, crowd) = before(1, 2, campaign).await;
    crowd.rush(32, 1..=1_000).await;
    assert!(cluster.topic().append_again(1_000).await > 0);
    for consumer in &mut cluster.consumers {
        consumer.stop().await;
    }
    crowd.rush(32, 1_001..=2_000).await;
    assert!(cluster.topic().append_again(1_000).await > 0);
    cluster.topic().poison().await;
    cluster.topic().rewind_group().await;
    for consumer in &mut cluster.consumers {
        consumer.start_again().await;
    }
    crowd.rush(32, 2_001..=2_500).await;

    let report = crowd.verdict(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.audit.granted), (2_500, 2_500), "{report}");
    assert_eq!(cluster.topic().dead_letters().await, 4, "three that are no requests, and one that no ledger can keep");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_slept_through_its_session_settles_nothing_more() {
    let campaign = Campaign::of(2_000, 12);
    let (cluster, crowd) = before(1, 2, campaign).await;
    crowd.rush(32, 1..=500).await;
    cluster.consumers[0].signal(Signal::STOP);
    crowd.rush(32, 501..=1_000).await;
    tokio::time::sleep(SESSION_OVER).await;
    cluster.gateways[0].drained(RECOVERED_WITHIN).await;
    cluster.consumers[0].signal(Signal::CONT);
    crowd.rush(32, 1_001..=1_500).await;

    let report = crowd.verdict(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.audit.granted), (1_500, 1_500), "{report}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clock_is_an_hour_ahead_turns_nobody_away_and_holds_the_limit() {
    let campaign = Campaign::of(2_000, 12);
    let (mut cluster, crowd) = before(2, 1, campaign).await;
    cluster.gateways[1].kill().await;
    cluster.gateways[1].start_again_with_a_clock(3_600).await;
    let ahead = crowd.through(&cluster.gateways[1]);
    // Everybody asks both.
    tokio::join!(crowd.rush(16, 1..=1_000), ahead.rush(16, (1..=1_000).rev()));

    let report = crowd.verdict(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.audit.granted, report.audit.users), (1_000, 1_000), "{report}");
    assert!(!report.refused.contains_key(&(429, "RATE_LIMITED".to_owned())), "{report}");
    cluster.end().await;
}
