//! Drops: more people than coupons, all in the same second.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::checker::Report;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, machine};
use crate::load;

/// The order in which people ask is the same in every run.
const SEED: u64 = 104;
const CONNECTIONS: usize = 128;

/// The write-up's drop: 10,000 coupons in 4 shards.
const LARGE: Campaign = Campaign::of(10_000, 4);
/// As many coupons as people, spread thin over many shards: where stock gets stranded.
const EXACT: Campaign = Campaign::of(1_500, 16);

/// 30,000 requests from 20,000 users: half of them ask twice.
fn people_of_the_large_drop() -> Vec<u64> {
    let mut people: Vec<u64> = (1..=20_000).chain(1..=10_000).collect();
    people.shuffle(&mut StdRng::seed_from_u64(SEED));
    people
}

async fn drop_with(gateway: &Gateway, campaign: Campaign, people: Vec<u64>) -> Report {
    let crowd = Crowd::before(gateway, gateway.create(campaign).await);
    let (begun, asked) = (Instant::now(), people.len());
    crowd.rush(CONNECTIONS, people).await;
    println!("{:.0} requests/s, {}", load::per_second(asked, begun), crowd.latencies());
    let report = crowd.verdict(gateway, campaign).await;
    report.assert_holds();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_coupons_go_to_ten_thousand_of_twenty_thousand_users_at_full_speed() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let report = drop_with(&gateway, LARGE, people_of_the_large_drop()).await;
    assert_eq!(report.issued(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_coupons_go_to_as_many_users_when_only_the_ledger_holds_the_limit() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.allow_requests(1_000).await;
    let report = drop_with(&gateway, LARGE, people_of_the_large_drop()).await;
    assert_eq!(report.issued(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_fifteen_hundred_users_gets_one_of_fifteen_hundred_coupons() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let report = drop_with(&gateway, EXACT, (1..=1_500).collect()).await;
    assert_eq!((report.issued(), report.refused.len()), (1_500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picker_that_always_answers_shard_0_costs_nobody_a_coupon() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.suffer("shard-picker", "always-zero").await;
    let report = drop_with(&gateway, EXACT, (1..=1_500).collect()).await;
    assert_eq!(report.issued(), 1_500);
    let steals = gateway.metrics().await.value("sluice_shard_steals_total", &[("coupon", "7001")]);
    assert_eq!(steals, 1_500.0 - 94.0, "94 coupons lay in shard 0");
    let picked: Vec<u64> = report.audit.shards.iter().map(|shard| shard.picked).collect();
    assert_eq!((picked[0], picked.iter().sum()), (1_500, 1_500), "{picked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picker_that_answers_a_shard_which_does_not_exist_costs_nobody_a_coupon() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.suffer("shard-picker", "nowhere").await;
    let report = drop_with(&gateway, EXACT, (1..=1_500).collect()).await;
    assert_eq!(report.issued(), 1_500);
    let labels = [("hook", "shard-picker"), ("policy", "nowhere"), ("reason", "answer")];
    assert_eq!(gateway.metrics().await.value("sluice_policy_failures_total", &labels), 1_500.0);
}
