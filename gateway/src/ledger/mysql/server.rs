//! The address and login of the database, and how a session begins.

use std::path::Path;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, MySqlPool};

use super::call::number;
use crate::ledger::{OpenError, Options};
use crate::secret::{read_secret, redact};

/// A server that needs longer to log a session in is treated as unreachable.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A call that waits longer for a free connection fails as transient.
const ACQUIRE_MAX: Duration = Duration::from_secs(10);
/// An idle connection is closed after at most twice this time, before the server closes it: see `wait_timeout` in
/// `set_session.sql`.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A connection that cannot roll back within this time is discarded.
const ROLLBACK_MAX: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(in crate::ledger) struct Server {
    options: MySqlConnectOptions,
    address: String,
    database: String,
}

#[derive(Clone, Copy)]
pub(super) enum IsolationLevel {
    ReadCommitted,
    RepeatableRead,
}

impl Server {
    /// Reads the files that the options name, and does not connect.
    pub(in crate::ledger) fn parse(options: &Options) -> Result<Self, OpenError> {
        let invalid = |problem: String| OpenError::BadUrl { url: redact(&options.url), problem };
        let parameters = options.url.split_once('?').map_or("", |(_, parameters)| parameters);
        let names: Vec<_> = parameters.split('&').filter_map(|parameter| parameter.split('=').next()).collect();
        if let Some(name) = names.iter().find(|name| !["", "ssl-mode"].contains(name)) {
            return Err(invalid(format!("unknown parameter `{name}`, only `ssl-mode` is supported")));
        }
        let parsed: MySqlConnectOptions = options.url.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(source) => invalid(source.to_string()),
            other => invalid(other.to_string()),
        })?;
        let authority = options.url.split_once("://").map_or("", |(_, authority)| authority);
        if authority.find('@').is_none_or(|at| at == 0) {
            return Err(invalid("the user is missing".into()));
        }
        let Some(database) = parsed.get_database().map(str::to_owned) else {
            return Err(invalid("the database is missing".into()));
        };
        let mut parsed = parsed.pipes_as_concat(false).no_engine_substitution(false).timezone(None);
        if let Some(path) = &options.password_file {
            let password = read_secret(path).map_err(|error| OpenError::PasswordFile(error.to_string()))?;
            parsed = parsed.password(&password);
        }
        if let Some(path) = &options.tls_ca_file {
            parsed = parsed.ssl_ca_from_pem(certificate(path)?);
            if names.contains(&"ssl-mode") {
                if !matches!(parsed.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity) {
                    return Err(invalid("ledger.tls_ca_file requires ssl-mode VERIFY_CA or VERIFY_IDENTITY".into()));
                }
            } else {
                parsed = parsed.ssl_mode(MySqlSslMode::VerifyIdentity);
            }
        }
        let address = format!("{}:{}", parsed.get_host(), parsed.get_port());
        Ok(Self { options: parsed, address, database })
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn place(&self) -> String {
        format!("{} at {}", self.database, self.address)
    }

    /// One connection, for the start: its errors say what to do.
    pub(super) async fn connect(&self) -> Result<MySqlConnection, OpenError> {
        self.connect_with(&self.options).await
    }

    /// A session without a database, until it [enters](Self::enter) it.
    pub(super) async fn connect_outside(&self) -> Result<MySqlConnection, OpenError> {
        self.connect_with(&self.options.clone().database("")).await
    }

    pub(super) async fn enter(&self, connection: &mut MySqlConnection) -> Result<(), OpenError> {
        let statement = format!("USE `{}`", self.database.replace('`', "``"));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map_err(|error| self.explain(error))?;
        Ok(())
    }

    async fn connect_with(&self, options: &MySqlConnectOptions) -> Result<MySqlConnection, OpenError> {
        match tokio::time::timeout(CONNECT_MAX, MySqlConnection::connect_with(options)).await {
            Ok(connected) => connected.map_err(|error| self.explain(error)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    /// Connections are opened on demand, so this cannot fail.
    pub(super) fn pool(
        &self,
        connections_max: u32,
        isolation: IsolationLevel,
        transactions: Transactions,
    ) -> MySqlPool {
        let pool = MySqlPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_MAX)
            .idle_timeout(IDLE_MAX)
            .after_connect(move |connection, _| Box::pin(begin_session(connection, isolation)));
        let pool = match transactions {
            Transactions::None => pool,
            Transactions::Some => pool.after_release(|connection, _| Box::pin(leave_transaction(connection))),
        };
        pool.connect_lazy_with(self.options.clone())
    }

    pub(super) fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
        OpenError::Failed { place: self.place(), source: source.into() }
    }

    fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
        OpenError::Unreachable { server: self.address.clone(), source: source.into() }
    }

    fn explain(&self, error: sqlx::Error) -> OpenError {
        match error {
            sqlx::Error::Io(source) => self.unreachable(source),
            sqlx::Error::Database(error) => match number(&*error) {
                // Access denied to the database, wrong user or password (twice).
                Some(1044 | 1045 | 1698) => OpenError::Denied {
                    server: self.address.clone(),
                    user: self.options.get_username().to_owned(),
                    reason: error.message().to_owned(),
                    is_plaintext: matches!(self.options.get_ssl_mode(), MySqlSslMode::Disabled),
                },
                Some(1049) => OpenError::NoDatabase { server: self.address.clone(), database: self.database.clone() },
                // Too many connections to the server, or too many of this user (twice).
                Some(1040 | 1203 | 1226) => self.unreachable(error.message()),
                _ => self.failed(error),
            },
            sqlx::Error::Tls(source) if source.to_string() == "server does not support TLS" => {
                OpenError::NoTls { server: self.address.clone() }
            }
            sqlx::Error::Tls(source) => {
                OpenError::Untrusted { server: self.address.clone(), reason: source.to_string() }
            }
            // The only setting that is checked this late: MySQL 8 accepts no password over an unencrypted connection.
            sqlx::Error::Configuration(_) => self.failed(
                "the server accepts a password over TLS only: enable TLS on the server, and set ssl-mode=REQUIRED in \
                 ledger.url",
            ),
            other => self.failed(other),
        }
    }
}

/// Whether a pool's connections are used for transactions. If so, each is rolled back before it is reused.
#[derive(Clone, Copy)]
pub(super) enum Transactions {
    None,
    Some,
}

fn certificate(path: &Path) -> Result<Vec<u8>, OpenError> {
    let pem = std::fs::read(path).map_err(|source| OpenError::TlsCaFile { path: path.to_owned(), source })?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    let is_pem = pem.windows(marker.len()).any(|window| window == marker);
    if is_pem { Ok(pem) } else { Err(OpenError::NoCertificate(path.to_owned())) }
}

async fn begin_session(connection: &mut MySqlConnection, isolation: IsolationLevel) -> Result<(), sqlx::Error> {
    connection.execute(include_str!("../sql/mysql/set_session.sql")).await?;
    let isolation = match isolation {
        IsolationLevel::ReadCommitted => include_str!("../sql/mysql/set_read_committed.sql"),
        IsolationLevel::RepeatableRead => include_str!("../sql/mysql/set_repeatable_read.sql"),
    };
    connection.execute(isolation).await?;
    Ok(())
}

/// When a call is cancelled between BEGIN and its answer, sqlx does not know of the open transaction.
async fn leave_transaction(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(ROLLBACK_MAX, connection.execute("ROLLBACK")).await {
        Ok(rolled_back) => rolled_back.map(|_| true),
        Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
    }
}
