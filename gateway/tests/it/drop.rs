//! Bursts: more users than coupons at the same moment.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::checker::Report;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, machine};
use crate::load;

/// Fixed, so that the order of users is the same in every run.
const SEED: u64 = 104;
const CONNECTIONS: usize = 128;

const LARGE: Campaign = Campaign::of(10_000, 4);
/// As many coupons as users over many shards, where unequal picks would strand stock.
const EXACT: Campaign = Campaign::of(1_500, 16);

/// 30,000 requests from 20,000 users, half of whom send two.
fn large_drop_users() -> Vec<u64> {
    let mut users: Vec<u64> = (1..=20_000).chain(1..=10_000).collect();
    users.shuffle(&mut StdRng::seed_from_u64(SEED));
    users
}

async fn run_drop(gateway: &Gateway, campaign: Campaign, users: Vec<u64>) -> Report {
    let crowd = Crowd::at(gateway, gateway.create(campaign).await);
    let (begun, requests) = (Instant::now(), users.len());
    crowd.send_burst(CONNECTIONS, users).await;
    println!("{:.0} requests/s, {}", load::per_second(requests, begun), crowd.latencies());
    let report = crowd.verify(gateway, campaign).await;
    report.assert_holds();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_20000_users_is_issued_exactly_10000_coupons() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let report = run_drop(&gateway, LARGE, large_drop_users()).await;
    assert_eq!(report.issued(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_alone_enforces_the_limit_per_user_in_a_burst() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.set_request_limit(1_000).await;
    let report = run_drop(&gateway, LARGE, large_drop_users()).await;
    assert_eq!(report.issued(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_user_is_issued_a_coupon_when_stock_equals_users() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let report = run_drop(&gateway, EXACT, (1..=1_500).collect()).await;
    assert_eq!((report.issued(), report.refused.len()), (1_500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picker_that_always_answers_shard_0_strands_no_stock() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.activate_hostile("shard-picker", "always-zero").await;
    let report = run_drop(&gateway, EXACT, (1..=1_500).collect()).await;
    assert_eq!(report.issued(), 1_500);
    let steals = gateway.metrics().await.value("sluice_shard_steals_total", &[("coupon", "7001")]);
    assert_eq!(steals, 1_500.0 - 94.0, "94 coupons lay in shard 0");
    let picked: Vec<u64> = report.audit.shards.iter().map(|shard| shard.picked).collect();
    assert_eq!((picked[0], picked.iter().sum()), (1_500, 1_500), "{picked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picker_that_answers_an_unknown_shard_falls_back_and_strands_no_stock() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.activate_hostile("shard-picker", "nowhere").await;
    let report = run_drop(&gateway, EXACT, (1..=1_500).collect()).await;
    assert_eq!(report.issued(), 1_500);
    let labels = [("hook", "shard-picker"), ("policy", "nowhere"), ("reason", "answer")];
    assert_eq!(gateway.metrics().await.value("sluice_policy_failures_total", &labels), 1_500.0);
}
