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
use crate::checker::Reply;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, machine, soak};

/// Share of pauses between faults, so that recovery is exercised too.
const QUIET_SHARE: f64 = 0.25;
const PER_SECOND: f64 = 400.0;
const RETRY_EVERY: Duration = Duration::from_millis(200);
const TRIES_MAX: usize = 200;

/// Users with a key retry at alternating gateways until the answer is not a server error. A user without one cannot
/// retry safely.
async fn retry_until_answered(crowds: [Crowd; 2], user: u64) {
    let key = user.is_multiple_of(2).then(|| format!("request of user {user}"));
    for crowd in crowds.iter().cycle().skip(user as usize % 2).take(TRIES_MAX) {
        let reply = crowd.request_with_key(user, key.clone()).await;
        let is_over = match reply {
            Reply::Accepted(_) => true,
            Reply::Refused { status, .. } => status < 500,
            Reply::Unanswered | Reply::NotSent => false,
        };
        if is_over || key.is_none() {
            return;
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_under_random_faults() {
    machine::exclusive();
    let (seed, seconds) =
        (soak::number("SLUICE_CHAOS_SEED", 7), soak::number("SLUICE_CHAOS_SECONDS", soak::short_or_long(30, 1_800)));
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(2, 3).await;
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
        crate::load::run_open(PER_SECOND, users, |user| retry_until_answered(crowds.clone(), user)).await;
    });
    let begun = Instant::now();
    let mut injected: BTreeMap<String, usize> = BTreeMap::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let fault = if random.random_bool(QUIET_SHARE) { Fault::Nothing } else { Fault::random(&mut random) };
        let duration = Duration::from_millis(random.random_range(200..4_000));
        println!("{:6.1} s: {fault} for {duration:.1?}", begun.elapsed().as_secs_f64());
        fault.inject(&mut cluster, duration).await;
        *injected.entry(fault.name()).or_default() += 1;
    }
    stop.store(true, Ordering::Relaxed);
    arrivals.await.expect("the load does not panic");
    println!("seed {seed}, {:.0} s: {}", begun.elapsed().as_secs_f64(), crowd.latencies());
    println!("injected: {injected:?}");
    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
    cluster.tear_down().await;
}
