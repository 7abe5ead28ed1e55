//! Random faults on real processes under load.
//!
//! `SLUICE_CHAOS_SEED` and `SLUICE_CHAOS_SECONDS` choose another run, and a longer one.

mod fault;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::fault::Fault;
use crate::crowd::Crowd;
use crate::habits;
use crate::harness::{Campaign, Cluster, Launch, machine, soak};

/// Share of pauses between faults, so that recovery is exercised too.
const QUIET_SHARE: f64 = 0.25;
const PER_SECOND: f64 = 400.0;

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_under_random_faults() {
    machine::exclusive();
    let (seed, seconds) =
        (soak::number("SLUICE_CHAOS_SEED", 7), soak::number("SLUICE_CHAOS_SECONDS", soak::short_or_long(30, 1_800)));
    let mut random = StdRng::seed_from_u64(seed);
    // Only with `refuse` is a key known from the first 202 on.
    let on_unavailable = if seed.is_multiple_of(2) { "pass" } else { "refuse" };
    let launch = Launch::with(&[("COUNTERS__ON_UNAVAILABLE", on_unavailable)]);
    let mut cluster = Cluster::start_with(launch, 2, 3).await;
    // Less stock than users, so that it sells out while faults are injected.
    let campaign = Campaign::of(seconds * 250, 8);
    let coupon = cluster.gateways[0].create(campaign).await;
    cluster.wait_for_campaign(coupon).await;
    let crowd = Crowd::at(&cluster.gateways[0], coupon);
    let crowds = [crowd.clone(), crowd.through(&cluster.gateways[1])];

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let arrivals = tokio::spawn(async move {
        let users = (1..).take_while(|_| !stopped.load(Ordering::Relaxed));
        crate::load::run_open(PER_SECOND, users, |user| habits::act(crowds.clone(), user)).await;
    });
    let begun = Instant::now();
    let mut injected: BTreeMap<String, usize> = BTreeMap::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let fault = if random.random_bool(QUIET_SHARE) { Fault::Nothing } else { Fault::random(&mut random) };
        let duration = Duration::from_millis(random.random_range(200..4_000));
        println!("{:6.1} s: {fault} for {duration:.1?}", begun.elapsed().as_secs_f64());
        let since = Instant::now();
        fault.inject(&mut cluster, duration).await;
        if matches!(fault, Fault::KillCounters | Fault::FlushCounters) {
            crowd.history.note_that_keys_were_lost(since);
        }
        *injected.entry(fault.name()).or_default() += 1;
    }
    stop.store(true, Ordering::Relaxed);
    arrivals.await.expect("the load does not panic");
    if on_unavailable == "pass" {
        crowd.history.note_that_keys_were_lost(begun);
    }
    println!("seed {seed}, {:.0} s: {}", begun.elapsed().as_secs_f64(), crowd.latencies());
    println!("injected: {injected:?}");
    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
    cluster.tear_down().await;
}
