//! Pipeline changes under load.

mod back_to_back;
mod sources;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, machine};

const SHARDS: u32 = 4;
const PER_SECOND: f64 = 2_000.0;
const CHANGE_EVERY: Duration = Duration::from_secs(2);
const CHANGES: usize = 14;
/// More coupons than there are requests, also on a machine where changes take long.
const CAMPAIGN: Campaign = Campaign::of(2_000_000, SHARDS);

/// Each has a distribution over shards that the test can recognise.
const PICKERS: [&str; 4] = ["round-robin", "always-zero", "random", "hash-user"];

/// Requests per shard, by generation.
type ShardsByGeneration = BTreeMap<u64, [u64; SHARDS as usize]>;

fn shards_by_generation(crowd: &Crowd) -> ShardsByGeneration {
    let mut by_generation = ShardsByGeneration::new();
    for receipt in crowd.history.receipts() {
        let generation = receipt.generation.expect("a 202 names its generation");
        let outcome = crowd.history.outcome(&receipt.request_id).expect("an outcome");
        let shard = outcome.shard_no.expect("there is stock for every user") as usize;
        by_generation.entry(generation).or_default()[shard] += 1;
    }
    by_generation
}

fn matches_policy(picker: &str, shards: [u64; SHARDS as usize]) -> bool {
    let total: u64 = shards.iter().sum();
    let fair = total as f64 / f64::from(SHARDS);
    let is_within = |tolerance: f64| shards.iter().all(|&shard| (shard as f64 - fair).abs() <= tolerance);
    match picker {
        "always-zero" => shards[0] == total,
        "round-robin" => is_within(1.0),
        // Six standard deviations of a uniform choice.
        _ => is_within(6.0 * (fair * 0.75).sqrt()) && !is_within(1.0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_changes_under_load_fail_no_request_and_each_answer_names_its_generation() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.home.install_hostile("always-zero");
    let crowd = Crowd::at(&gateway, gateway.create(CAMPAIGN).await);
    let mut picker_of = BTreeMap::from([(gateway.set_shard_picker("random").await, "random")]);
    let is_over = AtomicBool::new(false);
    let changing = async {
        // However long a change takes, each generation then decides for the whole time: a few requests would not show
        // which policy did.
        for picker in PICKERS.into_iter().cycle().take(CHANGES) {
            tokio::time::sleep(CHANGE_EVERY).await;
            picker_of.insert(gateway.set_shard_picker(picker).await, picker);
        }
        tokio::time::sleep(CHANGE_EVERY).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let users = (1..).take_while(|_| !is_over.load(Ordering::Relaxed));
    tokio::join!(changing, crowd.send_at_rate(PER_SECOND, users));
    let sent = crowd.history.exchanges().len();
    println!("{sent} requests at {PER_SECOND}/s over {} generations: {}", CHANGES + 1, crowd.latencies());

    let report = crowd.verify(&gateway, CAMPAIGN).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued()), (sent, sent), "0 failed requests");
    let by_generation = shards_by_generation(&crowd);
    assert_eq!(
        by_generation.keys().collect::<Vec<_>>(),
        picker_of.keys().collect::<Vec<_>>(),
        "each decided something"
    );
    for (generation, shards) in by_generation {
        let picker = picker_of[&generation];
        println!("generation {generation}: {picker:12} {shards:?}");
        assert!(matches_policy(picker, shards), "generation {generation} of {picker} gave {shards:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_changes_under_load_at_most_double_p99_latency() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let coupon = gateway.create(CAMPAIGN).await;
    let [before, changed, after] = [(); 3].map(|()| Crowd::at(&gateway, coupon));
    before.send_at_rate(PER_SECOND, 1..=6_000).await;
    let changing = async {
        for picker in ["hash-user", "random"].into_iter().cycle().take(10) {
            tokio::time::sleep(Duration::from_millis(280)).await;
            gateway.set_shard_picker(picker).await;
        }
    };
    tokio::join!(changing, changed.send_at_rate(PER_SECOND, 10_001..=16_000));
    after.send_at_rate(PER_SECOND, 20_001..=26_000).await;
    let [before, changed, after] = [before, changed, after].map(|crowd| crowd.latencies());
    println!("without changes {before}, then {after}; with 10 changes {changed}");
    // The machine may become slower or faster between two runs. A stalled change slows only the run with changes.
    let unchanged = before.quantile(0.99).max(after.quantile(0.99));
    assert!(changed.quantile(0.99) <= unchanged * 2 + Duration::from_millis(50), "{changed}, {before}, {after}");
}
