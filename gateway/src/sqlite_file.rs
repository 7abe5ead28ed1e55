//! One SQLite file, held by one process: one writer, a few readers.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection, SqlitePool};

/// Readers beside the writer: status calls and settlement's reads, on as many threads as help.
const READERS_MAX: u32 = 4;

/// Pages in the write-ahead log before SQLite copies them back: 16 MiB, so that a burst is not slowed
/// by a checkpoint every few commits.
const CHECKPOINT_PAGES: &str = "4096";

/// An open file and the lock that keeps other processes out.
#[derive(Debug)]
pub(crate) struct SqliteFile {
    /// A single connection: whoever holds it is the writer.
    pub(crate) writer: SqlitePool,
    /// Connections that only read.
    pub(crate) readers: SqlitePool,
    _lock: File,
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteFileError {
    /// Another process holds it.
    #[error("another process holds it")]
    InUse,
    /// The folder or the lock beside the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// SQLite itself.
    #[error(transparent)]
    Sqlite(#[from] sqlx::Error),
}

impl SqliteFile {
    /// Opens the file in WAL mode with `synchronous=FULL`: a commit survives the loss of power.
    ///
    /// # Errors
    /// [`SqliteFileError::InUse`] when another process has it open.
    pub(crate) async fn open(path: &Path) -> Result<Self, SqliteFileError> {
        let lock = hold(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(|connection, _| Box::pin(is_out_of_transaction(connection)))
            .connect_with(options.clone())
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "ON"))
            .await?;
        Ok(Self { writer, readers, _lock: lock })
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether a connection may be used again. When the disk is full SQLite rolls back by itself; the rollback
/// that sqlx sends then fails, and it goes on believing that a transaction is open.
async fn is_out_of_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // What was sent to the connection before has been done once it answers.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn hold(path: &Path) -> Result<File, SqliteFileError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| SqliteFileError::Io { path: folder.to_owned(), source })?;
    }
    let lock_path = beside(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|source| SqliteFileError::Io { path: lock_path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SqliteFileError::InUse),
        Err(TryLockError::Error(source)) => Err(SqliteFileError::Io { path: lock_path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_by_itself_does_not_stand_in_the_way_of_the_next() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = SqliteFile::open(&folder.path().join("file")).await.expect("opens");
        for _ in 0..3 {
            let mut transaction = file.writer.begin_with("BEGIN IMMEDIATE").await.expect("begins");
            sqlx::query("ROLLBACK").execute(&mut *transaction).await.expect("rolls back, as a full disk does");
        }
    }
}
