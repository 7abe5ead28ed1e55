//! The databases of a cluster's ledger groups, on the servers of `infra/native/services`.

use std::process::Command;
use std::time::Duration;

use super::{Exit, Process};

const STATEMENTS_MAX: Duration = Duration::from_secs(120);

/// The ports of `mariadb` and `mariadb-2`.
const MARIADB: [u16; 2] = [13306, 13307];
/// The port of `vtcombo`.
const VITESS: u16 = 13308;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Databases {
    /// One group, on MariaDB.
    One,
    /// One group, on the second MariaDB server, which a test may stop.
    Second,
    /// A group on each of two MariaDB servers.
    TwoServers,
    /// A group on each of two unsharded keyspaces of Vitess.
    TwoKeyspaces,
    /// A group on each of the two shards of a keyspace of Vitess.
    TwoShards,
}

/// One of them: the port of its server, and its name there.
pub(super) struct Database {
    port: u16,
    name: String,
}

impl Databases {
    /// In the order of their groups.
    pub(super) fn of(self, cluster: &str) -> Vec<Database> {
        let on = |port, name: &str| Database { port, name: name.to_owned() };
        match self {
            Self::One => vec![on(MARIADB[0], cluster)],
            Self::Second => vec![on(MARIADB[1], cluster)],
            Self::TwoServers => MARIADB.map(|port| on(port, cluster)).into(),
            Self::TwoKeyspaces => ["first", "second"].map(|keyspace| on(VITESS, keyspace)).into(),
            Self::TwoShards => ["sharded:-80", "sharded:80-"].map(|shard| on(VITESS, shard)).into(),
        }
    }

    pub(super) async fn create(self, cluster: &str) {
        for database in self.of(cluster) {
            database.create().await;
        }
    }

    pub(super) async fn drop(self, cluster: &str) {
        for database in self.of(cluster).into_iter().filter(|database| !database.is_on_vitess()) {
            sql(database.port, &format!("DROP DATABASE {}", database.name)).await;
        }
    }
}

impl Database {
    pub(super) fn url(&self) -> String {
        format!("mysql://sluice:sluice@127.0.0.1:{}/{}?ssl-mode=DISABLED", self.port, self.name)
    }

    /// The keyspaces of Vitess stay: they are emptied before they are used.
    fn is_on_vitess(&self) -> bool {
        self.port == VITESS
    }

    async fn create(&self) {
        if !self.is_on_vitess() {
            return sql(self.port, &format!("CREATE DATABASE {}", self.name)).await;
        }
        let tables = self.try_sql("SHOW TABLES").await;
        assert_eq!(tables.code, Some(0), "start Vitess with `infra/native/services up vitess`: {tables}");
        let tables: Vec<_> = tables.stdout.lines().skip(1).collect();
        if !tables.is_empty() {
            self.sql(&format!("DROP TABLE {}", tables.join(", "))).await;
        }
    }

    pub(super) async fn try_sql(&self, statements: &str) -> Exit {
        try_sql(self.port, &format!("USE `{}`; {statements}", self.name)).await
    }

    pub(super) async fn sql(&self, statements: &str) {
        sql(self.port, &format!("USE `{}`; {statements}", self.name)).await;
    }
}

async fn try_sql(port: u16, statements: &str) -> Exit {
    let mut client = Command::new("mariadb");
    client.args(["--host=127.0.0.1", &format!("--port={port}"), "--user=sluice", "--password=sluice"]);
    client.args(["--execute", statements]);
    Process::run(client, STATEMENTS_MAX).await
}

async fn sql(port: u16, statements: &str) {
    let ended = try_sql(port, statements).await;
    assert_eq!(ended.code, Some(0), "start the servers with `infra/native/services up`: {ended}");
}
