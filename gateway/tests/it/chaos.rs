//! Faults on real processes under load: whatever is killed, stopped or restarted, the promises hold.
//!
//! `SLUICE_CHAOS_SEED` and `SLUICE_CHAOS_SECONDS` choose another run, and a longer one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use crate::checker::Reply;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Gateway, service, turn};

/// About a quarter of the time nothing is wrong, so that recovery is seen as well.
const QUIET_SHARE: f64 = 0.25;
const PER_SECOND: f64 = 400.0;
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// Longer than the consumer group's session: a consumer that wakes up again has been replaced.
const STOPPED_FOR: Duration = Duration::from_secs(13);
const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];

#[derive(Debug, Clone, Copy)]
enum Fault {
    Nothing,
    KillGateway(usize),
    KillConsumer(usize),
    StopConsumer(usize),
    KillBroker(usize),
    KillDatabase,
    KillCounters,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Fault {
    fn draw(random: &mut StdRng, cluster: &Cluster) -> Self {
        if random.random_bool(QUIET_SHARE) {
            return Self::Nothing;
        }
        match random.random_range(0..6) {
            0 => Self::KillGateway(random.random_range(0..cluster.gateways.len())),
            1 => Self::KillConsumer(random.random_range(0..cluster.consumers.len())),
            2 => Self::StopConsumer(random.random_range(0..cluster.consumers.len())),
            3 => Self::KillBroker(random.random_range(0..BROKERS.len())),
            4 => Self::KillDatabase,
            _ => Self::KillCounters,
        }
    }

    /// Does it, and takes it back.
    async fn inflict(self, cluster: &mut Cluster, lasting: Duration) {
        match self {
            Self::Nothing => tokio::time::sleep(lasting).await,
            Self::KillGateway(which) => die_and_rise(&mut cluster.gateways[which], lasting).await,
            Self::KillConsumer(which) => die_and_rise(&mut cluster.consumers[which], lasting).await,
            Self::StopConsumer(which) => {
                cluster.consumers[which].signal(Signal::STOP);
                tokio::time::sleep(STOPPED_FOR).await;
                cluster.consumers[which].signal(Signal::CONT);
            }
            Self::KillBroker(which) => bounce(BROKERS[which], lasting).await,
            Self::KillDatabase => bounce("mariadb", lasting).await,
            Self::KillCounters => bounce("redis", lasting).await,
        }
    }
}

async fn die_and_rise(process: &mut Gateway, lasting: Duration) {
    process.kill().await;
    tokio::time::sleep(lasting).await;
    process.start_again().await;
}

async fn bounce(name: &str, lasting: Duration) {
    service("kill", name).await;
    tokio::time::sleep(lasting).await;
    service("start", name).await;
}

/// Asks at one gateway and then the other, if there is a key to ask again under, until there is an answer
/// that is no failure.
async fn insist(crowds: [Crowd; 2], user: u64) {
    let key = user.is_multiple_of(2).then(|| format!("request of user {user}"));
    for crowd in crowds.iter().cycle().skip(user as usize % 2).take(200) {
        let reply = crowd.ask_under(user, key.clone()).await;
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

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_the_promises_hold() {
    let _turn = turn::alone().await;
    let (seed, seconds) = (number("SLUICE_CHAOS_SEED", 7), number("SLUICE_CHAOS_SECONDS", 45));
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(2, 3).await;
    // Less stock than people in a short run, so that the end of it falls among the faults.
    let campaign = Campaign::of(seconds * 250, 8);
    let coupon = cluster.gateways[0].create(campaign).await;
    cluster.hears_of(coupon).await;
    let crowd = Crowd::before(&cluster.gateways[0], coupon);
    let crowds = [crowd.clone(), crowd.through(&cluster.gateways[1])];

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let coming = tokio::spawn(async move {
        let come = (1..).take_while(|_| !stopped.load(Ordering::Relaxed));
        crate::load::open(PER_SECOND, come, |user| insist(crowds.clone(), user)).await;
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let fault = Fault::draw(&mut random, &cluster);
        let lasting = Duration::from_millis(random.random_range(200..4_000));
        println!("{:5.1} s: {fault} for {lasting:.1?}", begun.elapsed().as_secs_f64());
        fault.inflict(&mut cluster, lasting).await;
    }
    stop.store(true, Ordering::Relaxed);
    coming.await.expect("people do not panic");
    println!("seed {seed}, {:.0} s: {}", begun.elapsed().as_secs_f64(), crowd.latencies());
    let report = crowd.verdict(&cluster.gateways[0], campaign).await;
    println!("{report}");
    report.assert_holds();
    assert!(report.accepted > 1_000, "{report}");
    cluster.end().await;
}
