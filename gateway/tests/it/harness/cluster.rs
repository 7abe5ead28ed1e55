//! Gateways and consumers that share a topic, a database and counters, on real servers.
//!
//! The servers are those of `infra/native/services`; what a test makes on them is its own.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::topic::Topic;
use super::{Ended, Gateway, Launch, Process, eventually};

const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Redis has so many by default, far more than clusters run at once.
const REDIS_DATABASES: usize = 16;
static NEXT_DATABASE: AtomicUsize = AtomicUsize::new(0);
const BROKERS: &str = "127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094";

/// A system of several processes.
pub(crate) struct Cluster {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) consumers: Vec<Gateway>,
    /// Of the database, the topic and the group.
    name: String,
    /// Which of Redis' databases holds the counters.
    counters: String,
}

async fn run(program: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(program);
    command.args(arguments);
    Process::run(command, COMMAND_MAX).await
}

/// Statements, as the user of the ledger.
async fn try_sql(statements: &str) -> Ended {
    let server = ["--host=127.0.0.1", "--port=13306", "--user=sluice", "--password=sluice", "--execute", statements];
    run("mariadb", &server).await
}

async fn sql(statements: &str) {
    let ended = try_sql(statements).await;
    assert_eq!(ended.code, Some(0), "start the servers with `infra/native/services up`: {ended}");
}

async fn redis(arguments: &[&str]) {
    let ended = run("redis-cli", &[&["-p", "16379"], arguments].concat()).await;
    assert_eq!(ended.code, Some(0), "start the servers with `infra/native/services up`: {ended}");
}

impl Cluster {
    pub(crate) async fn start(gateways: usize, consumers: usize) -> Self {
        let name = format!("sluice_it_{:08x}", rand::random::<u32>());
        let database = (NEXT_DATABASE.fetch_add(1, Ordering::Relaxed) % REDIS_DATABASES).to_string();
        let mut this =
            Self { gateways: Vec::new(), consumers: Vec::new(), name: name.clone(), counters: database.clone() };
        sql(&format!("CREATE DATABASE {name}")).await;
        this.flush_counters().await;

        let log = format!("kafka://{BROKERS}/{name}");
        let ledger = format!("mysql://sluice:sluice@127.0.0.1:13306/{name}?ssl-mode=DISABLED");
        let counters = format!("redis://127.0.0.1:16379/{database}");
        let variables =
            [("LOG__URL", log.as_str()), ("LOG__GROUP", &name), ("LEDGER__URL", &ledger), ("COUNTERS__URL", &counters)];
        let folder = tempfile::tempdir().expect("a temporary folder");
        for arguments in [&["migrate"][..], &["topic", "ensure"]] {
            let ended = Process::run(Launch::with(&variables).command(folder.path(), arguments), COMMAND_MAX).await;
            assert_eq!(ended.code, Some(0), "{arguments:?}: {ended}");
        }
        for _ in 0..gateways {
            this.gateways.push(Gateway::launch(Launch::with(&variables).with_role("gateway")).await);
        }
        for _ in 0..consumers {
            this.consumers.push(Gateway::launch(Launch::with(&variables).with_role("consumer")).await);
        }
        this
    }

    /// Waits until every gateway has heard of a campaign.
    pub(crate) async fn hears_of(&self, coupon: u64) {
        for gateway in &self.gateways {
            let coupon = coupon.to_string();
            let stock = async || gateway.metrics().await.sum("sluice_shard_remaining", &[("coupon", &coupon)]);
            let has_heard = async || (stock().await > 0.0).then_some(());
            eventually("every gateway hears of the campaign", Duration::from_secs(2), has_heard).await;
        }
    }

    pub(crate) fn topic(&self) -> Topic {
        Topic::new(BROKERS, &self.name)
    }

    /// What was counted is forgotten.
    pub(crate) async fn flush_counters(&self) {
        redis(&["-n", &self.counters, "FLUSHDB"]).await;
    }

    /// Locks what settlements lock in the opposite order, again and again: shards, and then offsets. Half of
    /// the time it has done so much that the database rather breaks off a settlement than this.
    pub(crate) async fn lock_in_reverse(&self, lasting: Duration) {
        let name = &self.name;
        let locks = "SELECT remaining FROM coupon_issue_shard FOR UPDATE; DO SLEEP(0.1); \
                     SELECT epoch FROM partition_offset FOR UPDATE; ROLLBACK";
        let work = "INSERT INTO weight SELECT seq FROM seq_1_to_5000;";
        sql(&format!("USE {name}; CREATE TABLE IF NOT EXISTS weight (number INT) ENGINE = InnoDB")).await;
        let begun = Instant::now();
        while begun.elapsed() < lasting {
            for before in ["", work] {
                let ended = try_sql(&format!("USE {name}; START TRANSACTION; {before} {locks}")).await;
                // It may be the one that is broken off, or that waits for too long.
                let is_broken_off = ["ERROR 1213", "ERROR 1205"].iter().any(|error| ended.to_string().contains(error));
                assert!(ended.code == Some(0) || is_broken_off, "{ended}");
            }
        }
    }

    /// Ends all processes and takes back what was made on the servers.
    pub(crate) async fn end(self) {
        let (topic, name) = (self.topic(), self.name);
        drop((self.gateways, self.consumers));
        sql(&format!("DROP DATABASE {name}")).await;
        topic.delete().await;
    }
}
