//! One SQLite file, locked by one process: one writer, a few readers.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection, SqlitePool};

/// For status calls and settlement's reads. In WAL mode they do not wait for the writer.
const READERS_MAX: u32 = 4;

/// The length of the write-ahead log, in pages of 4 KiB, at which SQLite copies it back: with 16 MiB a burst is not
/// slowed by a checkpoint every few commits.
const CHECKPOINT_PAGES: &str = "4096";

#[derive(Debug)]
pub(crate) struct SqliteFile {
    /// A single connection, so its holder is the only writer.
    pub(crate) writer: SqlitePool,
    /// `query_only`: a write through them fails.
    pub(crate) readers: SqlitePool,
    /// One connection for reads that take long, so that they never occupy the others. It is opened when needed.
    pub(crate) slow_reader: SqlitePool,
    path: PathBuf,
    inode: Inode,
    _lock: File,
}

/// Which file a path names: its device, and its number there.
type Inode = (u64, u64);

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteFileError {
    #[error("another process has the file open: stop it first")]
    InUse,
    /// The folder or the lock file.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// What is written to it would be lost with the process.
    #[error("{} was deleted or replaced while it was open: stop sluice, restore the file, and start again", .0.display())]
    Lost(PathBuf),
    #[error(transparent)]
    Sqlite(#[from] sqlx::Error),
}

impl SqliteFile {
    /// Opens the file in WAL mode with `synchronous=FULL`: a commit survives the loss of power.
    ///
    /// # Errors
    /// [`SqliteFileError::InUse`] when another process has it open.
    pub(crate) async fn open(path: &Path) -> Result<Self, SqliteFileError> {
        let lock = lock(path)?;
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
            .after_release(|connection, _| Box::pin(is_reusable(connection)))
            .connect_with(options.clone())
            .await?;
        let options = options.pragma("query_only", "ON");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        let slow_reader = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        let inode = inode(path).map_err(|source| SqliteFileError::Io { path: path.to_owned(), source })?;
        Ok(Self { writer, readers, slow_reader, path: path.to_owned(), inode, _lock: lock })
    }

    /// Checks that the path still names the file that is open. SQLite would go on in a file that nobody can open again.
    ///
    /// # Errors
    /// [`SqliteFileError::Lost`] when it does not.
    pub(crate) fn check(&self) -> Result<(), SqliteFileError> {
        match inode(&self.path) {
            Ok(found) if found == self.inode => Ok(()),
            _ => Err(SqliteFileError::Lost(self.path.clone())),
        }
    }

    /// Waits for calls in progress and closes all connections.
    pub(crate) async fn close(&self) {
        self.slow_reader.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether the pool may reuse a connection. When the disk is full, SQLite rolls back by itself; sqlx's own rollback
/// then fails, and sqlx still counts a transaction as open.
async fn is_reusable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Commands to the connection run in order: after the answer, the rollback sent before has run.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn inode(path: &Path) -> std::io::Result<Inode> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn lock(path: &Path) -> Result<File, SqliteFileError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| SqliteFileError::Io { path: folder.to_owned(), source })?;
    }
    // A file of its own: closing a second descriptor of the database would drop SQLite's POSIX locks.
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
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
    async fn a_file_that_was_deleted_or_replaced_is_lost() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        let file = SqliteFile::open(&path).await.expect("opens");
        file.check().expect("is there");
        std::fs::copy(&path, folder.path().join("copy")).expect("copies");
        std::fs::rename(folder.path().join("copy"), &path).expect("replaces");
        assert!(matches!(file.check(), Err(SqliteFileError::Lost(_))));
        std::fs::remove_file(&path).expect("deletes");
        let error = file.check().expect_err("is lost").to_string();
        assert!(error.contains("was deleted or replaced while it was open: stop sluice"), "{error}");
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_rolled_back_itself_does_not_block_the_next() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = SqliteFile::open(&folder.path().join("file")).await.expect("opens");
        for _ in 0..3 {
            let mut transaction = file.writer.begin_with("BEGIN IMMEDIATE").await.expect("begins");
            sqlx::query("ROLLBACK").execute(&mut *transaction).await.expect("rolls back, as a full disk does");
        }
    }
}
