//! The embedded log: SQLite in WAL mode, with one writer that commits in groups.
//!
//! While one group is being made durable the next one gathers, so a commit carries more records the
//! busier the gateway is.

mod frame;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Row;
use tokio::sync::{mpsc, watch};

use self::writer::{Command, Writer};
use super::{Ack, AppendError, Assignment, Log, LogError, OpenError, Options, Reader, Record, Stored};
use crate::background::Background;
use crate::coupon::{Offset, PartitionNo, now_ms};
use crate::sqlite_file::{SqliteFile, SqliteFileError};
use crate::telemetry::Telemetry;

/// Records that wait for their commit. A full queue is the disk not keeping up for longer than
/// clients would wait.
const QUEUE_RECORDS_MAX: usize = 8192;

/// Batches that one read asks for: enough for a full settlement, few enough to stay in the cache.
const READ_BATCHES_MAX: u32 = 16;

/// A log in a file.
pub struct Embedded {
    file: Arc<SqliteFile>,
    queue: mpsc::Sender<Command>,
    ends: Arc<Ends>,
    retention: Duration,
    /// Held open: a channel that closes means that nothing is assigned any more.
    assigned: Mutex<Vec<mpsc::Sender<Assignment>>>,
    /// Closed once the writer has ended.
    writer_runs: watch::Receiver<()>,
}

/// What all ends of the log know of it.
struct Ends {
    /// The offset after the last durable record, by partition.
    offsets: Vec<watch::Sender<Offset>>,
    /// Why the last group failed; `None` when it did not.
    failure: watch::Sender<Option<Arc<str>>>,
}

impl Embedded {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another process has it open, [`OpenError::Partitions`] when it was
    /// made with another number of them.
    pub async fn open(path: &str, options: &Options, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Failed { path: path.to_owned(), source };
        let file = SqliteFile::open(Path::new(path)).await.map_err(|error| match error {
            SqliteFileError::InUse => OpenError::InUse(path.to_owned()),
            other => failed(other.into()),
        })?;
        let found = shape(&file, options.partitions).await.map_err(|error| failed(error.into()))?;
        if found != options.partitions {
            return Err(OpenError::Partitions { path: path.to_owned(), found, expected: options.partitions });
        }
        let ends = read_ends(&file, found).await.map_err(|error| failed(error.into()))?;
        let ends = Arc::new(Ends {
            offsets: ends.into_iter().map(watch::Sender::new).collect(),
            failure: watch::Sender::new(None),
        });
        let file = Arc::new(file);
        let (queue, commands) = mpsc::channel(QUEUE_RECORDS_MAX);
        let (runs, writer_runs) = watch::channel(());
        let writer = Writer::new(Arc::clone(&file), Arc::clone(&ends), telemetry.clone(), runs);
        let log = Self {
            file,
            queue,
            ends,
            retention: Duration::from_secs(u64::from(options.retention_hours) * 3600),
            assigned: Mutex::default(),
            writer_runs,
        };
        Ok((log, Background::new("log writer", writer.run(commands))))
    }

    async fn stop(&self) {
        // A writer that is gone has nothing left to make durable.
        let _ = self.queue.send(Command::Close).await;
        let mut runs = self.writer_runs.clone();
        while runs.changed().await.is_ok() {}
        self.file.close().await;
    }
}

impl Log for Embedded {
    fn partitions(&self) -> u32 {
        u32::try_from(self.ends.offsets.len()).expect("made from a u32")
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
        self.ends.offsets.get(partition.0 as usize).map_or(0, |end| *end.borrow())
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        let (sender, receiver) = mpsc::channel(self.ends.offsets.len());
        for (partition, end) in (0..).map(PartitionNo).zip(&self.ends.offsets) {
            let reader = FileReader { partition, end: end.subscribe(), file: Arc::clone(&self.file) };
            let assignment = Assignment { partition, reader: Box::new(reader) };
            assert!(sender.try_send(assignment).is_ok(), "the channel has room for every partition");
        }
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        stored: &'a Stored,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            sqlx::query(include_str!("sql/embedded/insert_dead_letter.sql"))
                .bind(partition.0)
                .bind(stored.offset.cast_signed())
                .bind(reason)
                .bind(&stored.record.value)
                .execute(&self.file.writer)
                .await
                .map_err(during("dead_letter a record"))?;
            Ok(())
        })
    }

    fn trim(&self, partition: PartitionNo, offset: Offset) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let retention_ms = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
            sqlx::query(include_str!("sql/embedded/trim.sql"))
                .bind(partition.0)
                .bind(offset.cast_signed())
                .bind(now_ms().saturating_sub(retention_ms))
                .execute(&self.file.writer)
                .await
                .map_err(during("trim the log"))?;
            Ok(())
        })
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.ends.failure.borrow() {
            None => Ok(()),
            Some(failure) => Err(failure.to_string()),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.stop())
    }
}

struct FileReader {
    partition: PartitionNo,
    end: watch::Receiver<Offset>,
    file: Arc<SqliteFile>,
}

impl FileReader {
    async fn wait_and_read(&mut self, from: Offset, records_max: usize) -> Result<Option<Vec<Stored>>, LogError> {
        if self.end.wait_for(|end| *end > from).await.is_err() {
            return Ok(None);
        }
        let rows = sqlx::query(include_str!("sql/embedded/select_batches.sql"))
            .bind(self.partition.0)
            .bind(from.cast_signed())
            .bind(READ_BATCHES_MAX)
            .fetch_all(&self.file.readers)
            .await
            .map_err(during("read the log"))?;
        let mut records = Vec::with_capacity(records_max);
        for row in &rows {
            let base: i64 = row.try_get("base_offset").map_err(during("read the log"))?;
            let payload: &[u8] = row.try_get("payload").map_err(during("read the log"))?;
            frame::decode(base.cast_unsigned(), payload, from, records_max, &mut records)
                .map_err(|source| LogError { step: "read the log", source: source.into() })?;
        }
        Ok(Some(records))
    }
}

impl Reader for FileReader {
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, LogError>> {
        Box::pin(self.wait_and_read(from, records_max))
    }
}

async fn shape(file: &SqliteFile, partitions: u32) -> Result<u32, sqlx::Error> {
    sqlx::raw_sql(include_str!("sql/embedded/create.sql")).execute(&file.writer).await?;
    let row =
        sqlx::query(include_str!("sql/embedded/claim_shape.sql")).bind(partitions).fetch_one(&file.writer).await?;
    row.try_get("partitions")
}

/// The offset after the last record, by partition.
async fn read_ends(file: &SqliteFile, partitions: u32) -> Result<Vec<Offset>, sqlx::Error> {
    let mut ends = vec![0; partitions as usize];
    for row in sqlx::query(include_str!("sql/embedded/select_ends.sql")).fetch_all(&file.writer).await? {
        let partition: u32 = row.try_get("partition_no")?;
        let end: i64 = row.try_get("end_offset")?;
        if let Some(known) = ends.get_mut(partition as usize) {
            *known = end.cast_unsigned();
        }
    }
    Ok(ends)
}

fn during(step: &'static str) -> impl FnOnce(sqlx::Error) -> LogError {
    move |source| LogError { step, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn temporary() -> (Embedded, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (open(&folder).await.expect("opens"), folder)
    }

    async fn open(folder: &tempfile::TempDir) -> Result<Embedded, OpenError> {
        let path = folder.path().join("log");
        let (log, writer) =
            Embedded::open(path.to_str().expect("utf-8"), &Options::default(), &Telemetry::new()).await?;
        tokio::spawn(writer.run);
        Ok(log)
    }

    super::super::contract::contract_tests!(embedded => temporary().await);

    #[tokio::test]
    async fn a_second_process_is_kept_out() {
        let (_log, folder) = temporary().await;
        assert!(matches!(open(&folder).await, Err(OpenError::InUse(_))));
    }

    #[tokio::test]
    async fn a_log_keeps_the_number_of_partitions_it_was_made_with() {
        let (log, folder) = temporary().await;
        log.close().await;
        drop(log);
        let path = folder.path().join("log");
        let options = Options { partitions: 3, ..Options::default() };
        let error =
            Embedded::open(path.to_str().expect("utf-8"), &options, &Telemetry::new()).await.err().expect("refused");
        assert!(error.to_string().contains("has 12 partitions, the configuration expects 3"), "{error}");
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let (log, folder) = temporary().await;
        let record = Record { key: "104:0".into(), headers: super::super::Headers::default(), value: b"1".to_vec() };
        assert_eq!(log.append(PartitionNo(3), record.clone()).expect("queued").await.expect("durable"), 0);
        log.close().await;
        drop(log);
        let log = open(&folder).await.expect("opens again");
        assert_eq!(log.end_offset(PartitionNo(3)), 1);
        assert_eq!(log.append(PartitionNo(3), record).expect("queued").await.expect("durable"), 1);
    }
}
