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
const START: &str = "start the servers with `infra/native/services up`";

pub(crate) struct Stage {
    name: String,
}

impl Stage {
    /// Creates the database and the topic, as `sluice migrate` and `sluice topic ensure` do.
    pub(crate) async fn create() -> Self {
        let this = Self { name: format!("sluice_bench_{:08x}", rand::random::<u32>()) };
        this.execute_on_server(&format!("CREATE DATABASE {}", this.name)).await;
        ledger::migrate(&this.ledger()).await.unwrap_or_else(|error| panic!("{error}: {START}"));
        log::ensure_topics(&this.log()).await.unwrap_or_else(|error| panic!("{error}: {START}"));
        this
    }

    pub(crate) fn topic(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> log::Options {
        let (url, group) = (format!("kafka://{BROKERS}/{}", self.name), self.name.clone());
        log::Options { url, group, ..log::Options::default() }
    }

    pub(crate) fn ledger(&self) -> ledger::Options {
        ledger::Options { url: database_url(DATABASE, &self.name), ..ledger::Options::default() }
    }

    /// Environment variables for a process, without their prefix `SLUICE__`. It reaches the database at `database` if
    /// that is given.
    pub(crate) fn variables(&self, database: Option<SocketAddr>) -> [(&'static str, String); 3] {
        let server = database.map_or_else(|| DATABASE.to_owned(), |address| address.to_string());
        let ledger = database_url(&server, &self.name);
        [("LOG__URL", self.log().url), ("LOG__GROUP", self.name.clone()), ("LEDGER__URL", ledger)]
    }

    pub(crate) async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.ledger().url).await.unwrap_or_else(|error| panic!("{error}: {START}"))
    }

    /// Deletes the database and the topics.
    pub(crate) async fn delete(self) {
        self.execute_on_server(&format!("DROP DATABASE {}", self.name)).await;
        let admin: AdminClient<_> =
            ClientConfig::new().set("bootstrap.servers", BROKERS).create().expect("an administrator");
        let dead_letters = format!("{}.dead-letter", self.name);
        let gone = admin.delete_topics(&[&self.name, &dead_letters], &AdminOptions::new()).await;
        gone.expect("the topics are deleted");
    }

    async fn execute_on_server(&self, statement: &str) {
        let connected = MySqlConnection::connect(&database_url(DATABASE, "sluice")).await;
        let mut server = connected.unwrap_or_else(|error| panic!("{error}: {START}"));
        server.execute(AssertSqlSafe(statement.to_owned())).await.expect("the database is made or dropped");
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
