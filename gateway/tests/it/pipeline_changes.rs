//! Policies swapped while people ask.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, machine};
use crate::load;

const SHARDS: u32 = 4;
const PER_SECOND: f64 = 2_000.0;
const SWAP_EVERY: Duration = Duration::from_secs(2);
const SWAPS: usize = 14;
/// 30 seconds of people.
const PEOPLE: u64 = 60_000;
const CAMPAIGN: Campaign = Campaign::of(200_000, SHARDS);

/// Each spreads people over shards in a way of its own.
const PICKERS: [&str; 4] = ["round-robin", "always-zero", "random", "hash-user"];

/// How many of a generation's requests went to each shard.
type Spread = BTreeMap<u64, [u64; SHARDS as usize]>;

fn spread_of(crowd: &Crowd) -> Spread {
    let mut spread = Spread::new();
    for receipt in crowd.history.receipts() {
        let generation = receipt.generation.expect("a 202 says which generation decided");
        let outcome = crowd.history.outcome(&receipt.request_id).expect("an outcome");
        let shard = outcome.shard_no.expect("with so much stock everybody is issued one") as usize;
        spread.entry(generation).or_default()[shard] += 1;
    }
    spread
}

/// Whether a spread is that of the policy.
fn fits(picker: &str, shards: [u64; SHARDS as usize]) -> bool {
    let total: u64 = shards.iter().sum();
    let fair = total as f64 / f64::from(SHARDS);
    let is_within = |tolerance: f64| shards.iter().all(|&shard| (shard as f64 - fair).abs() <= tolerance);
    match picker {
        "always-zero" => shards[0] == total,
        "round-robin" => is_within(1.0),
        // Six standard deviations of a fair die.
        _ => is_within(6.0 * (fair * 0.75).sqrt()) && !is_within(1.0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapping_the_picker_under_load_fails_no_request_and_every_answer_has_one_generation() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.home.install_hostile("always-zero");
    let crowd = Crowd::before(&gateway, gateway.create(CAMPAIGN).await);
    let mut picker_of = BTreeMap::from([(gateway.pick_by("random").await, "random")]);
    let swapping = async {
        for picker in PICKERS.into_iter().cycle().take(SWAPS) {
            tokio::time::sleep(SWAP_EVERY).await;
            picker_of.insert(gateway.pick_by(picker).await, picker);
        }
    };
    tokio::join!(swapping, crowd.stream(PER_SECOND, 1..=PEOPLE));
    println!("{PEOPLE} requests at {PER_SECOND}/s over {} generations: {}", SWAPS + 1, crowd.latencies());

    let report = crowd.verdict(&gateway, CAMPAIGN).await;
    report.assert_holds();
    assert_eq!((report.accepted as u64, report.issued() as u64), (PEOPLE, PEOPLE), "0 failed requests");
    let spread = spread_of(&crowd);
    assert_eq!(spread.keys().collect::<Vec<_>>(), picker_of.keys().collect::<Vec<_>>(), "each decided something");
    for (generation, shards) in spread {
        let picker = picker_of[&generation];
        println!("generation {generation}: {picker:12} {shards:?}");
        assert!(fits(picker, shards), "generation {generation} of {picker} gave {shards:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_leave_the_slowest_answers_within_twice_their_time() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let coupon = gateway.create(CAMPAIGN).await;
    let (still, swapped) = (Crowd::before(&gateway, coupon), Crowd::before(&gateway, coupon));
    still.stream(PER_SECOND, 1..=6_000).await;
    let swapping = async {
        for picker in ["hash-user", "random"].into_iter().cycle().take(10) {
            tokio::time::sleep(Duration::from_millis(280)).await;
            gateway.pick_by(picker).await;
        }
    };
    tokio::join!(swapping, swapped.stream(PER_SECOND, 10_001..=16_000));
    let (still, swapped) = (still.latencies(), swapped.latencies());
    println!("without swaps {still}; with 10 swaps {swapped}");
    // Other work on this machine shows in both; a stall of the gateway would show in one.
    assert!(swapped.quantile(0.99) <= still.quantile(0.99) * 2 + Duration::from_millis(50), "{swapped}, {still}");
}

/// Swaps in the long run, and those before memory is measured the first time.
const MANY: usize = 10_000;
const WARM_UP: usize = 1_000;
/// What an allocator may keep from one of the largest moments to the next.
const FLAT_WITHIN_BYTES: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_swaps_leave_memory_flat() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let begun = Instant::now();
    let mut after_warm_up = gateway.memory();
    for (number, picker) in ["hash-user", "random", "weighted"].into_iter().cycle().take(MANY).enumerate() {
        gateway.pick_by(picker).await;
        if number == WARM_UP {
            after_warm_up = gateway.memory();
        }
    }
    let at_the_end = gateway.memory();
    println!(
        "{:.0} swaps/s; after {WARM_UP}: {after_warm_up}; after {MANY}: {at_the_end}",
        load::per_second(MANY, begun)
    );
    assert!(at_the_end.now < after_warm_up.now + FLAT_WITHIN_BYTES, "{after_warm_up}, then {at_the_end}");
    assert_eq!(gateway.pipeline().await["generation"], json!(MANY + 1));
}
