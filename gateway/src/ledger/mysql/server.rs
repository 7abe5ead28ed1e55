//! Where the database is, and how a session on it begins.

use std::path::Path;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::{Connection, Executor, MySqlConnection, MySqlPool};

use crate::ledger::{OpenError, Options, redacted};

/// A server that takes longer to let somebody in is as good as gone.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Who waits longer for a connection hears that the ledger is busy.
const ACQUIRE_MAX: Duration = Duration::from_secs(10);
/// A connection that is not used for once or twice so long is closed, before the server does: see `set_session.sql`.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A connection that cannot even roll back within this time is given up.
const ROLLBACK_MAX: Duration = Duration::from_secs(5);

/// A database on a server, and who comes to it.
#[derive(Clone)]
pub(in crate::ledger) struct Server {
    options: MySqlConnectOptions,
    address: String,
    database: String,
}

/// What the transactions of a session see.
#[derive(Clone, Copy)]
pub(super) enum Isolation {
    /// Each statement sees what is committed when it begins.
    ReadCommitted,
    /// All statements see one snapshot.
    RepeatableRead,
}

impl Server {
    pub(in crate::ledger) fn of(options: &Options) -> Result<Self, OpenError> {
        let wrong = |what: String| OpenError::BadUrl { url: redacted(&options.url), what };
        let parameters = options.url.split_once('?').map_or("", |(_, parameters)| parameters);
        let names: Vec<_> = parameters.split('&').filter_map(|parameter| parameter.split('=').next()).collect();
        if let Some(name) = names.iter().find(|name| !["", "ssl-mode"].contains(name)) {
            return Err(wrong(format!("`{name}` is unknown; there is `ssl-mode` only")));
        }
        let parsed: MySqlConnectOptions = options.url.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(source) => wrong(source.to_string()),
            other => wrong(other.to_string()),
        })?;
        let authority = options.url.split_once("://").map_or("", |(_, authority)| authority);
        if authority.find('@').is_none_or(|at| at == 0) {
            return Err(wrong("it names no user".into()));
        }
        let Some(database) = parsed.get_database().map(str::to_owned) else {
            return Err(wrong("it names no database".into()));
        };
        let mut parsed = parsed.pipes_as_concat(false).no_engine_substitution(false).timezone(None);
        if let Some(path) = &options.password_file {
            parsed = parsed.password(&password(path)?);
        }
        if let Some(path) = &options.tls_ca_file {
            parsed = parsed.ssl_ca_from_pem(certificate(path)?);
            if names.contains(&"ssl-mode") {
                if !matches!(parsed.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity) {
                    return Err(wrong("with ledger.tls_ca_file, ssl-mode is VERIFY_CA or VERIFY_IDENTITY".into()));
                }
            } else {
                parsed = parsed.ssl_mode(MySqlSslMode::VerifyIdentity);
            }
        }
        let address = format!("{}:{}", parsed.get_host(), parsed.get_port());
        Ok(Self { options: parsed, address, database })
    }

    /// The database's name, as an operator would look for it.
    pub(super) fn place(&self) -> String {
        format!("{} at {}", self.database, self.address)
    }

    /// One connection, with errors that say what to do.
    pub(super) async fn connect(&self) -> Result<MySqlConnection, OpenError> {
        match tokio::time::timeout(CONNECT_MAX, MySqlConnection::connect_with(&self.options)).await {
            Ok(connected) => connected.map_err(|error| self.explain(error)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    /// So many connections at most, made when they are needed.
    pub(super) fn pool(&self, connections_max: u32, isolation: Isolation, transactions: Transactions) -> MySqlPool {
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
        OpenError::Failed { path: self.place(), source: source.into() }
    }

    fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
        OpenError::Unreachable { server: self.address.clone(), source: source.into() }
    }

    fn explain(&self, error: sqlx::Error) -> OpenError {
        match error {
            sqlx::Error::Io(source) => self.unreachable(source),
            sqlx::Error::Database(error) => match super::number(&*error) {
                // Wrong user or password, and a database that this user may not use.
                Some(1044 | 1045 | 1698) => OpenError::Denied {
                    server: self.address.clone(),
                    user: self.options.get_username().to_owned(),
                    says: error.message().to_owned(),
                    in_plain_text: matches!(self.options.get_ssl_mode(), MySqlSslMode::Disabled),
                },
                Some(1049) => OpenError::NoDatabase { server: self.address.clone(), database: self.database.clone() },
                // Too many connections, or too many of this user.
                Some(1040 | 1203 | 1226) => self.unreachable(error.message()),
                _ => self.failed(error),
            },
            sqlx::Error::Tls(source) if source.to_string() == "server does not support TLS" => {
                OpenError::NoTls { server: self.address.clone() }
            }
            sqlx::Error::Tls(source) => OpenError::Untrusted { server: self.address.clone(), says: source.to_string() },
            // The one setting that is found wrong only here: MySQL 8 takes no password over a plain connection.
            sqlx::Error::Configuration(_) => {
                self.failed("the server takes the password over TLS only; set up TLS on it, and `?ssl-mode=REQUIRED`")
            }
            other => self.failed(other),
        }
    }
}

/// Whether a pool's connections are used for transactions.
#[derive(Clone, Copy)]
pub(super) enum Transactions {
    /// For single statements only.
    None,
    /// A connection is put back only once it is surely out of its transaction.
    Some,
}

fn read(key: &'static str, path: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(path).map_err(|source| OpenError::File { key, path: path.to_owned(), source })
}

fn password(path: &Path) -> Result<String, OpenError> {
    const KEY: &str = "password_file";
    match read(KEY, path)?.lines().next().unwrap_or_default() {
        "" => Err(of_no_use(KEY, path, "expected a password in its first line")),
        password => Ok(password.to_owned()),
    }
}

fn certificate(path: &Path) -> Result<Vec<u8>, OpenError> {
    const KEY: &str = "tls_ca_file";
    let text = read(KEY, path)?;
    match text.contains("-----BEGIN CERTIFICATE-----") {
        true => Ok(text.into_bytes()),
        false => Err(of_no_use(KEY, path, "expected a certificate in PEM")),
    }
}

fn of_no_use(key: &'static str, path: &Path, expected: &'static str) -> OpenError {
    OpenError::File { key, path: path.to_owned(), source: std::io::Error::other(expected) }
}

async fn begin_session(connection: &mut MySqlConnection, isolation: Isolation) -> Result<(), sqlx::Error> {
    connection.execute(include_str!("../sql/mysql/set_session.sql")).await?;
    let isolation = match isolation {
        Isolation::ReadCommitted => include_str!("../sql/mysql/set_read_committed.sql"),
        Isolation::RepeatableRead => include_str!("../sql/mysql/set_repeatable_read.sql"),
    };
    connection.execute(isolation).await?;
    Ok(())
}

/// A call that was dropped midway may have left a transaction open that sqlx does not know of.
async fn leave_transaction(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(ROLLBACK_MAX, connection.execute("ROLLBACK")).await {
        Ok(rolled_back) => rolled_back.map(|_| true),
        Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
    }
}
