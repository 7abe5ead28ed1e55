//! A topic and a database for one benchmark, on the servers of `infra/native/services`.

use std::net::{SocketAddr, TcpStream};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use sluice::{ledger, log};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

pub(crate) const BROKERS: &str = "127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094";
pub(crate) const DATABASE: &str = "127.0.0.1:13306";
/// The counters that gateways share. All benchmarks use one Redis, so their users differ.
pub(crate) const COUNTERS: (&str, &str) = ("COUNTERS__URL", "redis://127.0.0.1:16379");
/// `mariadb` and `mariadb-2`.
pub(crate) const TWO_DATABASES: &[&str] = &[DATABASE, "127.0.0.1:13307"];
const START: &str = "start the servers with `infra/native/services up`";

pub(crate) struct Stage {
    name: String,
    /// The servers of the ledger groups.
    databases: &'static [&'static str],
}

impl Stage {
    /// Creates the database and the topic, as `sluice migrate` and `sluice topic ensure` do.
    pub(crate) async fn create() -> Self {
        Self::create_on(&TWO_DATABASES[..1]).await
    }

    /// With a ledger group on each of these servers.
    pub(crate) async fn create_on(databases: &'static [&'static str]) -> Self {
        let this = Self { name: format!("sluice_bench_{:08x}", rand::random::<u32>()), databases };
        this.execute_on_servers(&format!("CREATE DATABASE {}", this.name)).await;
        for group in this.ledger().of_groups() {
            ledger::migrate(&group).await.unwrap_or_else(|error| panic!("{error}: {START}"));
        }
        log::ensure_topics(&this.log()).await.unwrap_or_else(|error| panic!("{error}: {START}"));
        this
    }

    pub(crate) fn topic(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> log::Options {
        let (url, group) = (format!("kafka://{BROKERS}/{}", self.name), self.name.clone());
        log::Options { url, group, groups: self.ledger().groups(), ..log::Options::default() }
    }

    pub(crate) fn ledger(&self) -> ledger::Options {
        let urls: Vec<_> = self.databases.iter().map(|server| database_url(server, &self.name)).collect();
        match &urls[..] {
            [only] => ledger::Options { url: only.clone(), ..ledger::Options::default() },
            _ => ledger::Options { urls, ..ledger::Options::default() },
        }
    }

    /// Environment variables for a process, without their prefix `SLUICE__`. It reaches the database at `database` if
    /// that is given.
    pub(crate) fn variables(&self, database: Option<SocketAddr>) -> [(&'static str, String); 3] {
        let elsewhere = database.map(|address| database_url(&address.to_string(), &self.name));
        let ledger = match self.ledger() {
            ledger if ledger.urls.is_empty() => ("LEDGER__URL", elsewhere.unwrap_or(ledger.url)),
            ledger => ("LEDGER__URLS", format!("{:?}", ledger.urls)),
        };
        [("LOG__URL", self.log().url), ("LOG__GROUP", self.name.clone()), ledger]
    }

    /// To the database of the first group.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        self.connect_all().await.remove(0)
    }

    pub(crate) async fn connect_all(&self) -> Vec<MySqlConnection> {
        let mut connections = Vec::new();
        for group in self.ledger().of_groups() {
            let connected = MySqlConnection::connect(&group.url).await;
            connections.push(connected.unwrap_or_else(|error| panic!("{error}: {START}")));
        }
        connections
    }

    /// Deletes the database and the topics.
    pub(crate) async fn delete(self) {
        self.execute_on_servers(&format!("DROP DATABASE {}", self.name)).await;
        let admin: AdminClient<_> =
            ClientConfig::new().set("bootstrap.servers", BROKERS).create().expect("an administrator");
        let dead_letters = format!("{}.dead-letter", self.name);
        let gone = admin.delete_topics(&[&self.name, &dead_letters], &AdminOptions::new()).await;
        gone.expect("the topics are deleted");
    }

    async fn execute_on_servers(&self, statement: &str) {
        for server in self.databases {
            let connected = MySqlConnection::connect(&database_url(server, "sluice")).await;
            let mut server = connected.unwrap_or_else(|error| panic!("{error}: {START}"));
            server.execute(AssertSqlSafe(statement.to_owned())).await.expect("the database is made or dropped");
        }
    }
}

/// Whether the servers run.
pub(crate) fn is_up() -> bool {
    let (brokers, (_, counters)) = (BROKERS.split(','), COUNTERS);
    brokers.chain([DATABASE, counters.trim_start_matches("redis://")]).all(|server| TcpStream::connect(server).is_ok())
}

fn database_url(server: &str, database: &str) -> String {
    format!("mysql://sluice:sluice@{server}/{database}?ssl-mode=DISABLED")
}
