//! The counters in a Redis Cluster of three nodes compared with one Redis: requests a second that are measured for the
//! default policies, a divided token bucket over all requests and a count for each user and coupon.
//!
//! Both have the same number of requests in flight, and rounds alternate. The servers are those of
//! `infra/native/services up redis redis-cluster`: one Redis is one thread, so the comparison needs a processor for each
//! node and more for this program.

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::median;
use sluice::counters::{Counters, Hook, Measure, OnUnavailable, Options, PerHook, Scope, Subject, open};
use sluice::coupon::{CampaignCounts, RequestId, now_ms};
use sluice::telemetry::Telemetry;

const ONE: &str = "redis://127.0.0.1:16379";
const CLUSTER: &str = "redis+cluster://127.0.0.1:16391,127.0.0.1:16392,127.0.0.1:16393";
const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_secs(3);
/// Of a busy gateway.
const REQUESTS_IN_FLIGHT: usize = 256;
const COUPON: u64 = 104;

const fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not 0")
}

const SHAPER: &[Measure] = &[Measure::Bucket {
    scope: Scope::Gateway,
    requests: at_least_one(1_000_000),
    per_ms: at_least_one(1_000),
    burst: at_least_one(100_000),
}];
const LIMIT: &[Measure] = &[Measure::Count { scope: Scope::UserOfCoupon, window_ms: 0 }];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let users = Arc::new(AtomicU64::new(rand::random_range(1..1 << 40)));
    let [one, cluster] = [connect(ONE).await, connect(CLUSTER).await];
    for counters in [&one, &cluster] {
        measure_round(counters, &users).await; // a warm-up
    }
    let [mut one_rates, mut cluster_rates] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for position in 0..2 {
            let (counters, rates) =
                if (round + position) % 2 == 0 { (&one, &mut one_rates) } else { (&cluster, &mut cluster_rates) };
            rates.push(measure_round(counters, &users).await);
        }
    }
    println!("one Redis:     {one_rates:.0?}/s\nRedis Cluster: {cluster_rates:.0?}/s");
    let [one_rate, cluster_rate] = [one_rates, cluster_rates].map(median);
    println!("counters, one Redis, {REQUESTS_IN_FLIGHT} in flight        {one_rate:8.0} requests/s");
    println!(
        "counters, Redis Cluster, {REQUESTS_IN_FLIGHT} in flight    {cluster_rate:8.0} requests/s   {:.2} of one Redis",
        cluster_rate / one_rate
    );
}

async fn connect(url: &str) -> Arc<dyn Counters> {
    let options = Options { url: url.to_owned(), on_unavailable: OnUnavailable::Refuse, ..Options::default() };
    let opened = open(&options, &Telemetry::new()).await;
    let (counters, keeper) =
        opened.unwrap_or_else(|error| panic!("{error}\nstart it with `infra/native/services up redis redis-cluster`"));
    tokio::spawn(keeper.expect("a connection").run);
    counters
}

/// Measures new users for one round; requests a second. A late answer is not counted.
async fn measure_round(counters: &Arc<dyn Counters>, users: &Arc<AtomicU64>) -> f64 {
    let begun = Instant::now();
    let measuring = (0..REQUESTS_IN_FLIGHT).map(|_| {
        let (counters, users) = (Arc::clone(counters), Arc::clone(users));
        tokio::spawn(async move {
            let mut measured = 0_u32;
            while begun.elapsed() < ROUND {
                measured += u32::from(measure(&*counters, users.fetch_add(1, Ordering::Relaxed)).await);
            }
            measured
        })
    });
    let mut measured = 0;
    for task in measuring.collect::<Vec<_>>() {
        measured += task.await.expect("the task does not panic");
    }
    let rate = f64::from(measured) / begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(200)).await; // for late answers
    rate
}

/// Whether both hooks got an answer in time.
async fn measure(counters: &dyn Counters, user: u64) -> bool {
    let subject = Subject {
        request_id: RequestId::new(),
        attempt: 0,
        coupon_id: COUPON.try_into().expect("in range"),
        user_id: user.try_into().expect("in range"),
        arrived_at_ms: now_ms(),
        fingerprint: None,
        campaign_counts: CampaignCounts::among(PerHook { user_limit: LIMIT, ..PerHook::default() }),
    };
    counters.reserve(Hook::RateShaper, SHAPER, &subject).await.is_ok()
        && counters.reserve(Hook::UserLimit, LIMIT, &subject).await.is_ok()
}
