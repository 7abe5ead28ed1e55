//! One fault at a time on real servers, with its exact consequence.

use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::process::Signal;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, eventually, machine, service, soak};
use crate::load::Latencies;

/// Even on a busy machine, within this time Kafka elects new leaders, and the partitions of a lost consumer are settled.
const RECOVERED_WITHIN: Duration = Duration::from_secs(180);
/// Longer than the consumer group's session.
const SESSION_OVER: Duration = Duration::from_secs(13);

async fn cluster_with_campaign(gateways: usize, consumers: usize, campaign: Campaign) -> (Cluster, Crowd) {
    let cluster = Cluster::start(gateways, consumers).await;
    let coupon = cluster.gateways[0].create(campaign).await;
    cluster.wait_for_campaign(coupon).await;
    let crowd = Crowd::at(&cluster.gateways[0], coupon);
    (cluster, crowd)
}

#[tokio::test(flavor = "multi_thread")]
async fn issuance_needs_two_of_three_brokers() {
    machine::exclusive();
    let campaign = Campaign::of(1_000, 12);
    let (cluster, crowd) = cluster_with_campaign(1, 1, campaign).await;
    crowd.send_burst(16, 1..=200).await;
    assert_eq!(crowd.history.receipts().len(), 200);

    service("kill", "kafka-2").await;
    service("kill", "kafka-3").await;
    crowd.send_burst(24, 201..=224).await;
    let receipts = crowd.history.receipts().len();
    let refused = crowd.refused_users();
    service("start", "kafka-2").await;
    let gateway = &cluster.gateways[0];
    let is_recovered = async || (gateway.operator.get("/readyz").await.json()["log"] == "ok").then_some(());
    eventually("every partition accepts records with two brokers", RECOVERED_WITHIN, is_recovered).await;
    crowd.send_burst(16, 301..=400).await;
    service("start", "kafka-3").await;

    assert_eq!((receipts, refused.len()), (200, 24), "a 202 needs two in-sync replicas");
    let report = crowd.verify(gateway, campaign).await;
    report.assert_holds();
    assert!(report.refused.keys().all(|(status, reason)| (*status, reason.as_str()) == (503, "LOG_UNAVAILABLE")));
    assert_eq!(report.accepted, 300, "{report}");
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_records_settle_once_and_invalid_records_are_dead_lettered() {
    let campaign = Campaign::of(3_000, 12);
    let (mut cluster, crowd) = cluster_with_campaign(1, 2, campaign).await;
    crowd.send_burst(32, 1..=1_000).await;
    assert!(cluster.topic().append_duplicates(1_000).await > 0);
    for consumer in &mut cluster.consumers {
        consumer.stop().await;
    }
    crowd.send_burst(32, 1_001..=2_000).await;
    assert!(cluster.topic().append_duplicates(1_000).await > 0);
    cluster.topic().reset_group_offsets().await;
    for consumer in &mut cluster.consumers {
        consumer.restart().await;
    }
    crowd.send_burst(32, 2_001..=2_500).await;
    // A rebalance may leave two copies of a dead letter: both consumers have joined by the time that all is settled.
    cluster.gateways[0].wait_until_drained(RECOVERED_WITHIN).await;
    cluster.topic().append_invalid_records().await;
    let are_kept = async || (cluster.topic().count_dead_letters().await >= 4).then_some(());
    eventually("the invalid records are dead-lettered", RECOVERED_WITHIN, are_kept).await;

    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.audit.granted), (2_500, 2_500), "{report}");
    assert_eq!(
        cluster.topic().count_dead_letters().await,
        4,
        "three that are not requests, and one that no ledger can store"
    );
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_paused_beyond_its_session_settles_nothing_twice() {
    let campaign = Campaign::of(2_000, 12);
    let (cluster, crowd) = cluster_with_campaign(1, 2, campaign).await;
    crowd.send_burst(32, 1..=500).await;
    cluster.consumers[0].signal(Signal::STOP);
    crowd.send_burst(32, 501..=1_000).await;
    tokio::time::sleep(SESSION_OVER).await;
    cluster.gateways[0].wait_until_drained(RECOVERED_WITHIN).await;
    cluster.consumers[0].signal(Signal::CONT);
    crowd.send_burst(32, 1_001..=1_500).await;

    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.audit.granted), (1_500, 1_500), "{report}");
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_settle_although_a_process_that_is_gone_claimed_every_partition() {
    let campaign = Campaign::of(1_000, 12);
    let (cluster, crowd) = cluster_with_campaign(1, 2, campaign).await;
    crowd.send_burst(32, 1..=100).await;
    cluster.gateways[0].wait_until_drained(RECOVERED_WITHIN).await;
    cluster.claim_every_partition().await;
    crowd.send_burst(32, 101..=300).await;

    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.audit.granted), (300, 300), "{report}");
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_its_clock_an_hour_ahead_rate_limits_no_one_and_keeps_the_limit_per_user() {
    let campaign = Campaign::of(2_000, 12);
    let (mut cluster, crowd) = cluster_with_campaign(2, 1, campaign).await;
    cluster.gateways[1].kill().await;
    cluster.gateways[1].restart_with_clock_offset(3_600).await;
    let ahead = crowd.through(&cluster.gateways[1]);
    tokio::join!(crowd.send_burst(16, 1..=1_000), ahead.send_burst(16, (1..=1_000).rev()));

    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert_eq!((report.audit.granted, report.audit.users), (1_000, 1_000), "{report}");
    assert!(!report.refused.contains_key(&(429, "RATE_LIMITED".to_owned())), "{report}");
    cluster.tear_down().await;
}

/// Requests a second of each of two coupons, and for how long the database is suspended.
const OUTAGE: (f64, u64) = (100.0, 4);
const OUTAGE_LONG: (f64, u64) = (500.0, 60);

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_stays_ready_and_accepts_while_the_database_is_suspended() {
    machine::exclusive();
    let (per_second, seconds) = soak::short_or_long(OUTAGE, OUTAGE_LONG);
    let users = (per_second * seconds as f64) as u64;
    let campaign = Campaign::of(2 * users, 12);
    let (cluster, crowd) = cluster_with_campaign(1, 1, campaign).await;
    let gateway = &cluster.gateways[0];
    let one = Campaign { coupon: 7_002, ..Campaign::of(1, 1) };
    let sold_out = Crowd::at(gateway, gateway.create(one).await);
    sold_out.send_burst(1, 1..=1).await;
    let stock = async || gateway.metrics().await.sum("sluice_shard_remaining", &[("coupon", "7002")]);
    let is_sold_out = async || (stock().await == 0.0).then_some(());
    eventually("the gateway sees no stock", RECOVERED_WITHIN, is_sold_out).await;
    let send = async |users: RangeInclusive<u64>| {
        tokio::join!(crowd.send_at_rate(per_second, users.clone()), sold_out.send_at_rate(per_second, users));
    };
    send(2..=users + 1).await;
    let before = crowd.latencies();

    service("pause", "mariadb").await;
    let sent = crowd.history.exchanges().len();
    send(users + 2..=2 * users).await;
    let ready = gateway.client.get("/readyz").await;
    service("resume", "mariadb").await;

    let during = Latencies::of(crowd.history.exchanges()[sent..].iter().map(|exchange| exchange.took));
    println!("{per_second}/s of each coupon; before: {before}; during the outage of {seconds} s: {during}");
    assert_eq!((ready.status, ready.json()["ledger"].as_str()), (200, Some("unavailable")), "{ready}");
    let refused = sold_out.history.exchanges();
    for exchange in refused.iter().filter(|exchange| exchange.user > users + 1) {
        assert_eq!(exchange.reply.refusal(), (503, "LEDGER_UNAVAILABLE"), "user {}", exchange.user);
    }
    let report = crowd.verify(gateway, campaign).await;
    report.assert_holds();
    assert_eq!(report.audit.granted, 2 * users - 1, "{report}");
    cluster.tear_down().await;
}
