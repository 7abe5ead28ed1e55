//! What can go wrong, and how it is brought about and taken back.

use std::fmt;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::harness::{Cluster, Gateway, service, services};

/// Longer than the consumer group's session: a consumer that wakes up again has been replaced.
const STOPPED_FOR: Duration = Duration::from_secs(13);
const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];
/// A slow server works for so long, and hangs for so long.
const SLOW: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// As wrong as a clock is that took daylight saving for its own.
const CLOCK_OFF_SECONDS: i64 = 3600;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Nothing,
    KillGateway(usize),
    ClockOff(usize),
    KillConsumer(usize),
    StopConsumer(usize),
    /// Leaves the group in good order and comes back: two rebalances.
    RestartConsumer(usize),
    KillBroker(usize),
    HangBroker(usize),
    /// All but this one: no record has two in-sync replicas.
    KillOtherBrokers(usize),
    KillDatabase,
    SlowDatabase,
    /// Somebody locks what settlement locks, in the opposite order.
    DeadlockDatabase,
    KillCounters,
    FlushCounters,
    /// The group's offsets are put back to the start.
    RewindGroup,
    /// Records stand in the topic a second time, in their own partition and in others.
    Redeliver,
    /// Records that can never settle.
    Poison,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Fault {
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let mut one_of = |many: usize| random.random_range(0..many);
        match one_of(16) {
            0 => Self::KillGateway(one_of(2)),
            1 => Self::ClockOff(one_of(2)),
            2 => Self::KillConsumer(one_of(3)),
            3 => Self::StopConsumer(one_of(3)),
            4 => Self::RestartConsumer(one_of(3)),
            5 => Self::KillBroker(one_of(3)),
            6 => Self::HangBroker(one_of(3)),
            7 => Self::KillOtherBrokers(one_of(3)),
            8 => Self::KillDatabase,
            9 => Self::SlowDatabase,
            10 => Self::DeadlockDatabase,
            11 => Self::KillCounters,
            12 => Self::FlushCounters,
            13 => Self::RewindGroup,
            14 => Self::Redeliver,
            _ => Self::Poison,
        }
    }

    /// What it is, whomever it hits.
    pub(super) fn name(self) -> String {
        let text = self.to_string();
        text.split('(').next().unwrap_or_default().to_owned()
    }

    /// Does it, and takes it back.
    pub(super) async fn inflict(self, cluster: &mut Cluster, lasting: Duration) {
        match self {
            Self::Nothing => tokio::time::sleep(lasting).await,
            Self::KillGateway(which) => die_and_rise(&mut cluster.gateways[which], lasting).await,
            Self::ClockOff(which) => be_off(&mut cluster.gateways[which], lasting).await,
            Self::KillConsumer(which) => die_and_rise(&mut cluster.consumers[which], lasting).await,
            Self::StopConsumer(which) => {
                cluster.consumers[which].signal(Signal::STOP);
                tokio::time::sleep(STOPPED_FOR).await;
                cluster.consumers[which].signal(Signal::CONT);
            }
            Self::RestartConsumer(which) => {
                cluster.consumers[which].stop().await;
                tokio::time::sleep(lasting).await;
                cluster.consumers[which].start_again().await;
            }
            Self::KillBroker(which) => bounce(BROKERS[which], lasting).await,
            Self::HangBroker(which) => hang(BROKERS[which], lasting).await,
            Self::KillOtherBrokers(spared) => {
                let killed = [BROKERS[(spared + 1) % 3], BROKERS[(spared + 2) % 3]];
                for broker in killed {
                    service("kill", broker).await;
                }
                tokio::time::sleep(lasting).await;
                services("start", &killed).await;
            }
            Self::KillDatabase => bounce("mariadb", lasting).await,
            Self::SlowDatabase => {
                let begun = Instant::now();
                while begun.elapsed() < lasting {
                    let [works, hangs] = SLOW;
                    hang("mariadb", hangs).await;
                    tokio::time::sleep(works).await;
                }
            }
            Self::DeadlockDatabase => cluster.lock_in_reverse(lasting).await,
            Self::KillCounters => bounce("redis", lasting).await,
            Self::FlushCounters => cluster.flush_counters().await,
            Self::RewindGroup => {
                for consumer in &mut cluster.consumers {
                    consumer.stop().await;
                }
                cluster.topic().rewind_group().await;
                for consumer in &mut cluster.consumers {
                    consumer.start_again().await;
                }
            }
            Self::Redeliver => drop(cluster.topic().append_again(500).await),
            Self::Poison => cluster.topic().poison().await,
        }
    }
}

async fn die_and_rise(process: &mut Gateway, lasting: Duration) {
    process.kill().await;
    tokio::time::sleep(lasting).await;
    process.start_again().await;
}

async fn be_off(process: &mut Gateway, lasting: Duration) {
    process.kill().await;
    process.start_again_with_a_clock(CLOCK_OFF_SECONDS).await;
    tokio::time::sleep(lasting).await;
    process.kill().await;
    process.start_again_with_a_clock(0).await;
}

async fn bounce(name: &str, lasting: Duration) {
    service("kill", name).await;
    tokio::time::sleep(lasting).await;
    service("start", name).await;
}

async fn hang(name: &str, lasting: Duration) {
    service("pause", name).await;
    tokio::time::sleep(lasting).await;
    service("resume", name).await;
}
