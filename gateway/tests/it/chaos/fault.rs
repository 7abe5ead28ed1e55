//! The faults, each injected for a while and then undone.

use std::fmt;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::harness::{Cluster, Gateway, service, services};

/// Longer than the consumer group's session, so that another consumer takes over the partitions.
const STOPPED_FOR: Duration = Duration::from_secs(13);
const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];
/// A slow server alternates between running and paused.
const SLOW: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// The error of a clock with the wrong daylight-saving setting.
const CLOCK_OFFSET_SECONDS: i64 = 3600;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Nothing,
    KillGateway(usize),
    ClockOff(usize),
    KillConsumer(usize),
    StopConsumer(usize),
    /// A graceful stop and start: two rebalances.
    RestartConsumer(usize),
    KillBroker(usize),
    PauseBroker(usize),
    /// All brokers but this one, so that no append reaches two in-sync replicas.
    KillOtherBrokers(usize),
    KillDatabase,
    SlowDatabase,
    /// Locks the rows of settlement in the opposite order.
    DeadlockDatabase,
    KillCounters,
    FlushCounters,
    /// Resets the group's offsets to the start.
    RewindGroup,
    /// Appends records a second time, to their own partition and to others.
    Redeliver,
    /// Appends records that can never settle.
    Poison,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Fault {
    pub(super) fn random(random: &mut StdRng) -> Self {
        let mut one_of = |many: usize| random.random_range(0..many);
        match one_of(16) {
            0 => Self::KillGateway(one_of(2)),
            1 => Self::ClockOff(one_of(2)),
            2 => Self::KillConsumer(one_of(3)),
            3 => Self::StopConsumer(one_of(3)),
            4 => Self::RestartConsumer(one_of(3)),
            5 => Self::KillBroker(one_of(3)),
            6 => Self::PauseBroker(one_of(3)),
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

    /// Without the number of the process or broker.
    pub(super) fn name(self) -> String {
        let text = self.to_string();
        text.split('(').next().unwrap_or_default().to_owned()
    }

    pub(super) async fn inject(self, cluster: &mut Cluster, duration: Duration) {
        match self {
            Self::Nothing => tokio::time::sleep(duration).await,
            Self::KillGateway(which) => kill_and_restart(&mut cluster.gateways[which], duration).await,
            Self::ClockOff(which) => run_with_wrong_clock(&mut cluster.gateways[which], duration).await,
            Self::KillConsumer(which) => kill_and_restart(&mut cluster.consumers[which], duration).await,
            Self::StopConsumer(which) => {
                cluster.consumers[which].signal(Signal::STOP);
                tokio::time::sleep(STOPPED_FOR).await;
                cluster.consumers[which].signal(Signal::CONT);
            }
            Self::RestartConsumer(which) => {
                cluster.consumers[which].stop().await;
                tokio::time::sleep(duration).await;
                cluster.consumers[which].restart().await;
            }
            Self::KillBroker(which) => kill_and_start_service(BROKERS[which], duration).await,
            Self::PauseBroker(which) => pause_and_resume_service(BROKERS[which], duration).await,
            Self::KillOtherBrokers(spared) => {
                let killed = [BROKERS[(spared + 1) % 3], BROKERS[(spared + 2) % 3]];
                for broker in killed {
                    service("kill", broker).await;
                }
                tokio::time::sleep(duration).await;
                services("start", &killed).await;
            }
            Self::KillDatabase => kill_and_start_service("mariadb", duration).await,
            Self::SlowDatabase => {
                let begun = Instant::now();
                while begun.elapsed() < duration {
                    let [running, paused] = SLOW;
                    pause_and_resume_service("mariadb", paused).await;
                    tokio::time::sleep(running).await;
                }
            }
            Self::DeadlockDatabase => cluster.provoke_deadlocks(duration).await,
            Self::KillCounters => kill_and_start_service("redis", duration).await,
            Self::FlushCounters => cluster.flush_counters().await,
            Self::RewindGroup => {
                for consumer in &mut cluster.consumers {
                    consumer.stop().await;
                }
                cluster.topic().reset_group_offsets().await;
                for consumer in &mut cluster.consumers {
                    consumer.restart().await;
                }
            }
            Self::Redeliver => drop(cluster.topic().append_duplicates(500).await),
            Self::Poison => cluster.topic().append_invalid_records().await,
        }
    }
}

async fn kill_and_restart(process: &mut Gateway, duration: Duration) {
    process.kill().await;
    tokio::time::sleep(duration).await;
    process.restart().await;
}

async fn run_with_wrong_clock(process: &mut Gateway, duration: Duration) {
    process.kill().await;
    process.restart_with_clock_offset(CLOCK_OFFSET_SECONDS).await;
    tokio::time::sleep(duration).await;
    process.kill().await;
    process.restart_with_clock_offset(0).await;
}

async fn kill_and_start_service(name: &str, duration: Duration) {
    service("kill", name).await;
    tokio::time::sleep(duration).await;
    service("start", name).await;
}

async fn pause_and_resume_service(name: &str, duration: Duration) {
    service("pause", name).await;
    tokio::time::sleep(duration).await;
    service("resume", name).await;
}
