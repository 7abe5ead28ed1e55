//! A topic and a database of the benchmark's own, on the servers of `infra/native/services`.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use sluice::{ledger, log};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

pub(crate) const BROKERS: &str = "127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094";
const DATABASE_SERVER: &str = "mysql://sluice:sluice@127.0.0.1:13306";
const START: &str = "start the servers with `infra/native/services up`";

/// What one run of the system has to itself.
pub(crate) struct Stage {
    name: String,
}

impl Stage {
    /// Makes the database and the topic, as `sluice migrate` and `sluice topic ensure` would.
    pub(crate) async fn set() -> Self {
        let this = Self { name: format!("sluice_bench_{:08x}", rand::random::<u32>()) };
        this.server_itself(&format!("CREATE DATABASE {}", this.name)).await;
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
        ledger::Options {
            url: format!("{DATABASE_SERVER}/{}?ssl-mode=DISABLED", self.name),
            ..ledger::Options::default()
        }
    }

    /// What a process of the system is told.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [("LOG__URL", self.log().url), ("LOG__GROUP", self.name.clone()), ("LEDGER__URL", self.ledger().url)]
    }

    pub(crate) async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.ledger().url).await.unwrap_or_else(|error| panic!("{error}: {START}"))
    }

    /// Takes back what was made on the servers.
    pub(crate) async fn clear(self) {
        self.server_itself(&format!("DROP DATABASE {}", self.name)).await;
        let admin: AdminClient<_> =
            ClientConfig::new().set("bootstrap.servers", BROKERS).create().expect("an administrator");
        let dead_letters = format!("{}.dead-letter", self.name);
        let gone = admin.delete_topics(&[&self.name, &dead_letters], &AdminOptions::new()).await;
        gone.expect("the topics are deleted");
    }

    async fn server_itself(&self, statement: &str) {
        let connected = MySqlConnection::connect(&format!("{DATABASE_SERVER}/sluice?ssl-mode=DISABLED")).await;
        let mut server = connected.unwrap_or_else(|error| panic!("{error}: {START}"));
        server.execute(AssertSqlSafe(statement.to_owned())).await.expect("the database is made or dropped");
    }
}
