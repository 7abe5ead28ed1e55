//! The embedded log: a SQLite file in WAL mode, with one writer that commits in groups.
//!
//! While one group is committed, the next one collects, so a commit carries more records the busier the gateway is.

mod ends;
mod frame;
mod identity;
mod reader;
mod trimmer;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sqlx::Row;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::ends::Ends;
use self::reader::FileReader;
use self::trimmer::{SettledOffsets, Trimmer};
use self::writer::{Command, Writer};
use super::{Ack, AppendError, Assignment, DeadLetter, Gap, Log, LogError, OpenError, Options, Record};
use crate::background::Background;
use crate::coupon::{LogId, Offset, PartitionNo};
use crate::sqlite_file::{SqliteFile, SqliteFileError};
use crate::telemetry::Telemetry;

/// Records that wait for their commit, of all partitions: they share the file. If the queue fills, the disk has been
/// too slow for longer than clients wait.
const QUEUE_RECORDS_MAX: usize = 8192;

/// Older dead letters are deleted. A record has at most 16 KiB, so they take at most 160 MB; an operator who has not
/// looked at the first thousands learns nothing from more.
const DEAD_LETTERS_MAX: i64 = 10_000;

pub(super) struct Embedded {
    file: Arc<SqliteFile>,
    queue: mpsc::Sender<Command>,
    ends: Arc<Ends>,
    settled: Arc<SettledOffsets>,
    /// Keep the assignment channels open until the log closes: no partition is ever revoked.
    assigned: Mutex<Vec<mpsc::Sender<Assignment>>>,
    writer_ended: CancellationToken,
    has_logged_surplus: AtomicBool,
}

impl Embedded {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another process has it open, [`OpenError::Partitions`] if it has another number of
    /// partitions.
    pub(super) async fn open(
        path: &str,
        options: &Options,
        telemetry: &Telemetry,
    ) -> Result<(Self, Vec<Background>), OpenError> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Failed { path: path.to_owned(), source };
        let file = open_file(path).await?;
        let expected = options.partitions_total();
        let found = create_tables(&file, expected).await.map_err(|error| failed(error.into()))?;
        if found != expected {
            let problem = options.explain_partitions(found, "give log.url a new path");
            return Err(OpenError::Partitions { path: path.to_owned(), problem });
        }
        let ends = Arc::new(Ends::read(&file, found).await.map_err(|error| failed(error.into()))?);
        let file = Arc::new(file);
        let settled = Arc::new(SettledOffsets::new(found));
        let trimmer = Trimmer::new(Arc::clone(&file), Arc::clone(&settled), options.retention());
        let (queue, commands) = mpsc::channel(QUEUE_RECORDS_MAX);
        let writer_ended = CancellationToken::new();
        let guard = writer_ended.clone().drop_guard();
        let writer = Writer::new(Arc::clone(&file), Arc::clone(&ends), trimmer, telemetry.clone(), guard);
        let log = Self {
            file,
            queue,
            ends,
            settled,
            assigned: Mutex::default(),
            writer_ended,
            has_logged_surplus: AtomicBool::new(false),
        };
        Ok((log, vec![Background::new("log writer", writer.run(commands))]))
    }

    /// Adds the partitions of new ledger groups, if the file exists and lacks them. Answers whether it did.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if a process has the file open.
    pub(super) async fn add_partitions(path: &str, options: &Options) -> Result<bool, OpenError> {
        if !Path::new(path).exists() {
            return Ok(false);
        }
        let failed = |error: sqlx::Error| OpenError::Failed { path: path.to_owned(), source: error.into() };
        let file = open_file(path).await?;
        let expected = options.partitions_total();
        let found = create_tables(&file, expected).await.map_err(failed)?;
        let lacks_groups = options.lacks_groups(found);
        if lacks_groups {
            let extend = sqlx::query(include_str!("sql/embedded/extend_shape.sql")).bind(expected);
            extend.execute(&file.writer).await.map_err(failed)?;
        }
        file.close().await;
        Ok(lacks_groups)
    }

    async fn stop(&self) {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Fails if the writer has ended, which is what closing is for.
        let _ = self.queue.send(Command::Close).await;
        self.writer_ended.cancelled().await;
        self.file.close().await;
    }
}

impl Log for Embedded {
    fn partitions(&self) -> u32 {
        self.ends.partitions()
    }

    fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError> {
        let (sender, ack) = Ack::pair();
        self.queue.try_send(Command::Append(partition, record, sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Full,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
        })?;
        Ok(ack)
    }

    fn end_offset(&self, partition: PartitionNo) -> Offset {
        self.ends.get(partition)
    }

    /// No other process appends to the file.
    fn fresh_end_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Option<Offset>> {
        Box::pin(std::future::ready(Some(self.ends.get(partition))))
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        let (sender, receiver) = mpsc::channel(self.ends.partitions() as usize);
        for (partition, end) in self.ends.subscribe() {
            let reader = FileReader { partition, end, file: Arc::clone(&self.file) };
            let assignment = Assignment { partition, reader: Box::new(reader), revoked: CancellationToken::new() };
            assert!(sender.try_send(assignment).is_ok(), "the channel has room for every partition");
        }
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        letters: &'a [DeadLetter<'a>],
    ) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            let surplus = insert_dead_letters(&self.file, partition, letters)
                .await
                .map_err(|source| LogError { step: "write dead letters", source: source.into() })?;
            if surplus > 0 && !self.has_logged_surplus.swap(true, Ordering::Relaxed) {
                tracing::warn!(kept = DEAD_LETTERS_MAX, "too many dead letters: the oldest are deleted from now on");
            }
            Ok(())
        })
    }

    fn gap(&self, partition: PartitionNo, offset: Offset) -> BoxFuture<'_, Result<Option<Gap>, LogError>> {
        Box::pin(reader::gap(&self.file, partition, self.ends.get(partition), offset))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<LogId>, LogError>> {
        Box::pin(identity::read(&self.file))
    }

    fn set_identity(&self, log_id: LogId) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(identity::store(&self.file, log_id))
    }

    fn trim(&self, partition: PartitionNo, offset: Offset) {
        self.settled.set(partition, offset);
    }

    /// All partitions are in one file. After a failed write the next append is an attempt like any other, so that the
    /// log is used again as soon as it is writable.
    fn accepts(&self, _: PartitionNo) -> Result<(), Arc<str>> {
        if self.queue.is_closed() { Err("the log writer has ended".into()) } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), Arc<str>> {
        self.accepts(PartitionNo(0))?;
        self.ends.failure().map_or(Ok(()), Err)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.stop())
    }
}

async fn open_file(path: &str) -> Result<SqliteFile, OpenError> {
    SqliteFile::open(Path::new(path)).await.map_err(|error| match error {
        SqliteFileError::InUse => OpenError::InUse(path.to_owned()),
        other => OpenError::Failed { path: path.to_owned(), source: other.into() },
    })
}

/// Answers with the number of partitions of the file; a new one gets `partitions`.
async fn create_tables(file: &SqliteFile, partitions: u32) -> Result<u32, sqlx::Error> {
    sqlx::raw_sql(include_str!("sql/embedded/create.sql")).execute(&file.writer).await?;
    let row =
        sqlx::query(include_str!("sql/embedded/claim_shape.sql")).bind(partitions).fetch_one(&file.writer).await?;
    row.try_get("partitions")
}

/// Answers with the number of older letters that it deleted.
async fn insert_dead_letters(
    file: &SqliteFile,
    partition: PartitionNo,
    letters: &[DeadLetter<'_>],
) -> Result<u64, sqlx::Error> {
    let mut transaction = file.writer.begin().await?;
    for letter in letters {
        sqlx::query(include_str!("sql/embedded/insert_dead_letter.sql"))
            .bind(partition.0)
            .bind(letter.stored.offset.cast_signed())
            .bind(letter.reason)
            .bind(&letter.stored.record.value)
            .execute(&mut *transaction)
            .await?;
    }
    let surplus = sqlx::query(include_str!("sql/embedded/delete_surplus_dead_letters.sql"))
        .bind(DEAD_LETTERS_MAX)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(surplus.rows_affected())
}

#[cfg(test)]
mod age_tests;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Wake, Waker};

    use tokio::sync::watch;

    use super::*;
    use crate::log::contract::contract_tests;
    use crate::log::{Headers, Reader, Stored};

    async fn temporary() -> (Embedded, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (open(&folder).await.expect("opens"), folder)
    }

    async fn open_without_writer(
        folder: &tempfile::TempDir,
        options: &Options,
    ) -> Result<(Embedded, Vec<Background>), OpenError> {
        let path = folder.path().join("log");
        Embedded::open(path.to_str().expect("utf-8"), options, &Telemetry::new()).await
    }

    async fn open(folder: &tempfile::TempDir) -> Result<Embedded, OpenError> {
        let (log, background) = open_without_writer(folder, &Options::default()).await?;
        background.into_iter().for_each(|task| _ = tokio::spawn(task.run));
        Ok(log)
    }

    fn record() -> Record {
        Record { key: "104:0".into(), headers: Headers::default(), value: b"1".to_vec() }
    }

    contract_tests!(embedded => temporary().await);

    /// Notes where the partition ends at the moment when a client learns that its record is durable.
    struct Client {
        log: Embedded,
        end_seen: Mutex<Option<Offset>>,
    }

    impl Wake for Client {
        fn wake(self: Arc<Self>) {
            *self.end_seen.lock().expect("no panic") = Some(self.log.end_offset(PartitionNo(3)));
        }
    }

    #[tokio::test]
    async fn a_record_is_in_the_log_at_the_moment_of_its_acknowledgement() {
        let (log, _folder) = temporary().await;
        let client = Arc::new(Client { log, end_seen: Mutex::default() });
        let mut ack = client.log.append(PartitionNo(3), record()).expect("queued");
        let waker = Waker::from(Arc::clone(&client));
        assert!(Pin::new(&mut ack).poll(&mut Context::from_waker(&waker)).is_pending());
        client.log.close().await;
        assert_eq!(*client.end_seen.lock().expect("no panic"), Some(1));
    }

    /// A commit is in the file a moment before the writer publishes it.
    #[tokio::test]
    async fn a_reader_does_not_read_past_the_published_end() {
        let (log, _folder) = temporary().await;
        for _ in 0..3 {
            log.append(PartitionNo(3), record()).expect("queued").await.expect("durable");
        }
        let (published, end) = watch::channel(2);
        let mut reader = FileReader { partition: PartitionNo(3), end, file: Arc::clone(&log.file) };
        let read = reader.read(0, 1024).await.expect("reads").expect("is open");
        assert_eq!(read.len(), 2);
        published.send_replace(3);
        let read = reader.read(2, 1024).await.expect("reads").expect("is open");
        assert_eq!(read.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn a_log_in_use_cannot_be_opened_by_a_second_process() {
        let (_log, folder) = temporary().await;
        assert!(matches!(open(&folder).await, Err(OpenError::InUse(_))));
    }

    #[tokio::test]
    async fn a_log_with_another_number_of_partitions_does_not_open() {
        let (log, folder) = temporary().await;
        log.close().await;
        drop(log);
        let options = Options { partitions: 3, ..Options::default() };
        let error = open_without_writer(&folder, &options).await.err().expect("refused");
        assert!(error.to_string().contains("has 12 partitions, log.partitions expects 3"), "{error}");
    }

    #[tokio::test]
    async fn partitions_of_new_ledger_groups_are_added_behind_those_of_the_others() {
        let (log, folder) = temporary().await;
        assert_eq!(log.append(PartitionNo(11), record()).expect("queued").await.expect("durable"), 0);
        log.close().await;
        drop(log);
        let path = folder.path().join("log");
        let path = path.to_str().expect("utf-8");
        let options = Options { groups: 2, ..Options::default() };
        let refused = open_without_writer(&folder, &options).await.err().expect("refused").to_string();
        assert!(refused.contains("add the partitions with `sluice topic ensure`"), "{refused}");
        let other = Options { partitions: 5, ..options.clone() };
        assert!(!Embedded::add_partitions(path, &other).await.expect("opens"), "12 is no multiple of 5");
        assert!(Embedded::add_partitions(path, &options).await.expect("adds them"));
        assert!(!Embedded::add_partitions(path, &options).await.expect("has them"));
        let (log, _) = open_without_writer(&folder, &options).await.expect("opens");
        assert_eq!((log.partitions(), log.end_offset(PartitionNo(11)), log.end_offset(PartitionNo(23))), (24, 1, 0));
    }

    #[tokio::test]
    async fn acknowledged_records_survive_a_restart() {
        let (log, folder) = temporary().await;
        assert_eq!(log.append(PartitionNo(3), record()).expect("queued").await.expect("durable"), 0);
        log.close().await;
        drop(log);
        let log = open(&folder).await.expect("opens again");
        assert_eq!(log.end_offset(PartitionNo(3)), 1);
        assert_eq!(log.append(PartitionNo(3), record()).expect("queued").await.expect("durable"), 1);
    }

    #[tokio::test]
    async fn dead_letters_are_kept_once_each() {
        let (log, _folder) = temporary().await;
        let stored = [0, 1].map(|offset| Stored { offset, record: record() });
        let letters = stored.each_ref().map(|stored| DeadLetter { stored, reason: "not JSON" });
        for _ in 0..2 {
            log.dead_letter(PartitionNo(3), &letters).await.expect("are kept");
        }
        let kept = sqlx::query("SELECT * FROM dead_letter").fetch_all(&log.file.readers).await.expect("reads");
        assert_eq!(kept.len(), 2);
    }

    #[tokio::test]
    async fn a_log_that_another_process_locked_is_ready_again_without_a_request() {
        let (log, folder) = temporary().await;
        let path = folder.path().join("log");
        let url = format!("sqlite:{}", path.display());
        let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.expect("opens");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("locks");
        let refused = log.append(PartitionNo(3), record()).expect("queued").await;
        assert!(matches!(refused, Err(AppendError::NotWritten(_))), "{refused:?}");
        assert!(log.ready().is_err());
        assert_eq!(log.accepts(PartitionNo(3)), Ok(()), "the next append is an attempt");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("unlocks");
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while log.ready().is_err() {
            assert!(tokio::time::Instant::now() < deadline, "not ready again");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(log.append(PartitionNo(3), record()).expect("queued").await.expect("durable"), 0);
    }

    #[tokio::test]
    async fn surplus_dead_letters_are_deleted_oldest_first() {
        let (log, _folder) = temporary().await;
        let stored = [0, 1, 2].map(|offset| Stored { offset, record: record() });
        let letters = stored.each_ref().map(|stored| DeadLetter { stored, reason: "not JSON" });
        log.dead_letter(PartitionNo(3), &letters[..2]).await.expect("are kept");
        let reach_bound = sqlx::query("UPDATE dead_letter SET rowid = ?1 WHERE log_offset = 1").bind(DEAD_LETTERS_MAX);
        reach_bound.execute(&log.file.writer).await.expect("updates");
        log.dead_letter(PartitionNo(3), &letters[2..]).await.expect("is kept");
        let kept = sqlx::query("SELECT log_offset FROM dead_letter ORDER BY rowid");
        let kept = kept.fetch_all(&log.file.readers).await.expect("reads");
        assert_eq!(kept.iter().map(|row| row.get::<i64, _>("log_offset")).collect::<Vec<_>>(), [1, 2]);
        assert!(log.has_logged_surplus.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_log_whose_writer_ended_is_not_ready_and_fails_queued_appends() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, background) = open_without_writer(&folder, &Options::default()).await.expect("opens");
        let queued = log.append(PartitionNo(0), record()).expect("queued");
        assert_eq!(log.ready(), Ok(()));
        drop(background);
        assert!(log.ready().is_err());
        assert!(matches!(queued.await, Err(AppendError::Failed(_))));
        assert!(matches!(log.append(PartitionNo(0), record()), Err(AppendError::Closed)));
        log.close().await;
    }
}
