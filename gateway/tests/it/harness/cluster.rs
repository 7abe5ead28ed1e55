//! Gateways and consumers on the servers of `infra/native/services`. Each cluster has its own topic, database and
//! counters.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use super::databases::{Database, Databases};
use super::topic::Topic;
use super::{Gateway, Launch, Process, eventually};

const COMMAND_MAX: Duration = Duration::from_secs(120);
/// `distributed` measures the promised 2 s. This is patience, for a machine where other tests run.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);
/// The default of Redis, and far more than the clusters that run at the same time.
const REDIS_DATABASES: usize = 16;
static NEXT_DATABASE: AtomicUsize = AtomicUsize::new(0);
const BROKERS: &str = "127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094";

pub(crate) struct Cluster {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) consumers: Vec<Gateway>,
    /// Of the database, the topic and the consumer group.
    name: String,
    databases: Databases,
    /// The number of the Redis database.
    counters: String,
    /// Of every process, without the servers.
    launch: Launch,
}

async fn redis(arguments: &[&str]) {
    let mut client = Command::new("redis-cli");
    client.args(["-p", "16379"]).args(arguments);
    let ended = Process::run(client, COMMAND_MAX).await;
    assert_eq!(ended.code, Some(0), "start the servers with `infra/native/services up`: {ended}");
}

impl Cluster {
    pub(crate) async fn start(gateways: usize, consumers: usize) -> Self {
        Self::start_with(Launch::default(), gateways, consumers).await
    }

    pub(crate) async fn start_with(launch: Launch, gateways: usize, consumers: usize) -> Self {
        Self::start_on(Databases::One, launch, gateways, consumers).await
    }

    /// With a ledger group on each of these databases.
    pub(crate) async fn start_on(databases: Databases, launch: Launch, gateways: usize, consumers: usize) -> Self {
        let name = format!("sluice_it_{:08x}", rand::random::<u32>());
        let counters = (NEXT_DATABASE.fetch_add(1, Ordering::Relaxed) % REDIS_DATABASES).to_string();
        let mut this = Self { gateways: Vec::new(), consumers: Vec::new(), name, databases, counters, launch };
        this.databases.create(&this.name).await;
        this.flush_counters().await;

        this.run(&["migrate"]).await;
        this.run(&["topic", "ensure"]).await;
        for _ in 0..gateways {
            this.gateways.push(Gateway::launch(this.launch().with_role("gateway")).await);
        }
        for _ in 0..consumers {
            this.add_consumer().await;
        }
        this
    }

    async fn run(&self, arguments: &[&str]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ended = Process::run(self.launch().command(folder.path(), arguments), COMMAND_MAX).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended}");
    }

    /// Starts the binary under test in place of stopped processes of an earlier release.
    pub(crate) async fn upgrade(&mut self) {
        self.launch = Launch::default();
        self.run(&["migrate"]).await;
        let launch = self.launch();
        for gateway in &mut self.gateways {
            gateway.restart_as(launch.clone().with_role("gateway")).await;
        }
        for consumer in &mut self.consumers {
            consumer.restart_as(launch.clone().with_role("consumer")).await;
        }
    }

    pub(crate) async fn add_consumer(&mut self) {
        self.consumers.push(Gateway::launch(self.launch().with_role("consumer")).await);
    }

    /// The variables that name the topic and the consumer group.
    pub(crate) fn log_variables(&self) -> [(&'static str, String); 2] {
        [("LOG__URL", format!("kafka://{BROKERS}/{}", self.name)), ("LOG__GROUP", self.name.clone())]
    }

    fn launch(&self) -> Launch {
        let [(log, url), (group, name)] = self.log_variables();
        let urls: Vec<_> = self.databases.of(&self.name).iter().map(Database::url).collect();
        let (ledger_key, ledger) = match &urls[..] {
            [only] => ("LEDGER__URL", only.clone()),
            several => ("LEDGER__URLS", format!("{several:?}")),
        };
        let counters = format!("redis://127.0.0.1:16379/{}", self.counters);
        let servers = [(log, &*url), (group, &name), (ledger_key, &ledger), ("COUNTERS__URL", &counters)];
        self.launch.clone().and(&servers)
    }

    pub(crate) async fn wait_for_campaign(&self, coupon: u64) {
        for gateway in &self.gateways {
            let coupon = coupon.to_string();
            let stock = async || gateway.metrics().await.sum("sluice_shard_remaining", &[("coupon", &coupon)]);
            let knows_it = async || (stock().await > 0.0).then_some(());
            eventually("every gateway knows the campaign", KNOWN_WITHIN, knows_it).await;
        }
    }

    pub(crate) fn topic(&self) -> Topic {
        Topic::new(BROKERS, &self.name)
    }

    pub(crate) async fn flush_counters(&self) {
        redis(&["-n", &self.counters, "FLUSHDB"]).await;
    }

    /// What a query of the ledger's first group returns: one number.
    pub(crate) async fn number(&self, query: &str) -> u64 {
        self.number_in(0, query).await
    }

    pub(crate) async fn number_in(&self, group: usize, query: &str) -> u64 {
        let ended = self.database(group).try_sql(query).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout.lines().last().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Locks rows until the session is dropped: statements that change them wait.
    pub(crate) async fn lock(&self, select: &str) -> MySqlConnection {
        let mut session = MySqlConnection::connect(&self.database(0).url()).await.expect("the server runs");
        for statement in ["START TRANSACTION".to_owned(), format!("{select} FOR UPDATE")] {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut session).await.expect("the rows are locked");
        }
        session
    }

    /// The number of sessions that execute a statement with this beginning. Asked without the command-line client, which
    /// starts slowly on a busy machine: a gateway gives up a statement that waits for a lock for 2 s.
    pub(crate) async fn sessions_in(&self, statement: &str) -> u64 {
        let mut session = MySqlConnection::connect(&self.database(0).url()).await.expect("the server runs");
        let sessions = "SELECT count(*) FROM information_schema.processlist WHERE db = database()";
        let count = sqlx::query_scalar(AssertSqlSafe(format!("{sessions} AND info LIKE '{statement}%'")));
        let count: i64 = count.fetch_one(&mut session).await.expect("a number");
        count.unsigned_abs()
    }

    fn database(&self, group: usize) -> Database {
        self.databases.of(&self.name).swap_remove(group)
    }

    /// Claims every partition as another process does, which then settles nothing.
    pub(crate) async fn claim_every_partition(&self) {
        self.database(0).sql("UPDATE partition_offset SET epoch = epoch + 1").await;
    }

    /// Locks shards and then offsets, the reverse of settlement's order. Half of the transactions first insert rows, because
    /// the database rolls back the transaction of a deadlock that has changed less: then it is settlement's.
    pub(crate) async fn provoke_deadlocks(&self, duration: Duration) {
        let database = self.database(0);
        let locks = "SELECT remaining FROM coupon_issue_shard FOR UPDATE; DO SLEEP(0.1); \
                     SELECT epoch FROM partition_offset FOR UPDATE; ROLLBACK";
        let work = "INSERT INTO weight SELECT seq FROM seq_1_to_5000;";
        database.sql("CREATE TABLE IF NOT EXISTS weight (number INT) ENGINE = InnoDB").await;
        let begun = Instant::now();
        while begun.elapsed() < duration {
            for before in ["", work] {
                let ended = database.try_sql(&format!("START TRANSACTION; {before} {locks}")).await;
                // This transaction may itself be rolled back, or time out waiting for a lock.
                let is_rolled_back = ["ERROR 1213", "ERROR 1205"].iter().any(|error| ended.to_string().contains(error));
                assert!(ended.code == Some(0) || is_rolled_back, "{ended}");
            }
        }
    }

    /// Kills all processes and deletes the databases and topics.
    pub(crate) async fn tear_down(self) {
        let (topic, name) = (self.topic(), self.name);
        drop((self.gateways, self.consumers));
        self.databases.drop(&name).await;
        topic.delete().await;
    }
}
