//! The one writer: gathers a group, makes it durable with one statement, acknowledges it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use sqlx::{QueryBuilder, Sqlite};
use tokio::sync::{mpsc, watch};

use super::{Ends, frame, read_ends};
use crate::coupon::{Offset, PartitionNo, now_ms};
use crate::log::{AckSender, AppendError, Record};
use crate::sqlite_file::SqliteFile;
use crate::telemetry::{GroupAppended, Telemetry};

/// A larger group would make its first record wait longer for its last one than a commit takes.
const GROUP_RECORDS_MAX: usize = 1024;

pub(super) enum Command {
    Append(PartitionNo, Record, AckSender),
    Close,
}

pub(super) struct Writer {
    file: Arc<SqliteFile>,
    ends: Arc<Ends>,
    telemetry: Telemetry,
    /// Dropped when the writer ends, which is how `close` learns of it.
    _runs: watch::Sender<()>,
    /// Whether a commit's fate is unknown, so that the offsets must be read again.
    unsure: bool,
}

/// The records of one group that go to one partition.
#[derive(Default)]
struct Batch {
    payload: Vec<u8>,
    waiting: Vec<AckSender>,
}

impl Writer {
    pub(super) fn new(file: Arc<SqliteFile>, ends: Arc<Ends>, telemetry: Telemetry, runs: watch::Sender<()>) -> Self {
        Self { file, ends, telemetry, _runs: runs, unsure: false }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut gathered = Vec::with_capacity(GROUP_RECORDS_MAX);
        while commands.recv_many(&mut gathered, GROUP_RECORDS_MAX).await > 0 {
            let mut group: BTreeMap<PartitionNo, Batch> = BTreeMap::new();
            for command in gathered.drain(..) {
                match command {
                    Command::Append(partition, record, waiting) => {
                        let batch = group.entry(partition).or_default();
                        frame::encode(&record, &mut batch.payload);
                        batch.waiting.push(waiting);
                    }
                    // What stands in the queue behind it is still made durable.
                    Command::Close => commands.close(),
                }
            }
            if !group.is_empty() {
                self.append(group).await;
            }
        }
    }

    async fn append(&mut self, group: BTreeMap<PartitionNo, Batch>) {
        let begun = Instant::now();
        let records = group.values().map(|batch| batch.waiting.len()).sum();
        match self.commit(&group).await {
            Ok(()) => {
                self.telemetry.emit(GroupAppended { records, duration: begun.elapsed() });
                self.ends.failure.send_if_modified(|failure| failure.take().is_some());
                self.acknowledge(group);
            }
            Err(error) => {
                let failure: Arc<str> = error.to_string().into();
                if self.ends.failure.send_replace(Some(Arc::clone(&failure))).is_none() {
                    tracing::error!(%failure, "the log cannot be written; requests are answered with 503");
                }
                self.unsure = true;
                for waiting in group.into_values().flat_map(|batch| batch.waiting) {
                    // A client that is gone needs no answer.
                    let _ = waiting.send(Err(AppendError::Failed(Arc::clone(&failure))));
                }
            }
        }
    }

    async fn commit(&mut self, group: &BTreeMap<PartitionNo, Batch>) -> Result<(), sqlx::Error> {
        if self.unsure {
            self.resume().await?;
        }
        let now = now_ms();
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO record_batch (partition_no, base_offset, records, appended_at_ms, payload) ",
        );
        insert.push_values(group, |mut row, (partition, batch)| {
            row.push_bind(partition.0)
                .push_bind(self.end(*partition).cast_signed())
                .push_bind(i64::try_from(batch.waiting.len()).unwrap_or(i64::MAX))
                .push_bind(now)
                .push_bind(&batch.payload);
        });
        insert.build().execute(&self.file.writer).await?;
        Ok(())
    }

    /// After a commit whose fate is unknown: what is in the file counts.
    async fn resume(&mut self) -> Result<(), sqlx::Error> {
        let found = read_ends(&self.file, u32::try_from(self.ends.offsets.len()).unwrap_or(u32::MAX)).await?;
        for (end, found) in self.ends.offsets.iter().zip(found) {
            end.send_if_modified(|end| std::mem::replace(end, found) != found);
        }
        self.unsure = false;
        Ok(())
    }

    fn acknowledge(&self, group: BTreeMap<PartitionNo, Batch>) {
        for (partition, batch) in group {
            let base = self.end(partition);
            let end = base + batch.waiting.len() as u64;
            for (offset, waiting) in (base..).zip(batch.waiting) {
                // A client that is gone needs no answer; its record is settled all the same.
                let _ = waiting.send(Ok(offset));
            }
            self.ends.offsets[partition.0 as usize].send_replace(end);
        }
    }

    fn end(&self, partition: PartitionNo) -> Offset {
        *self.ends.offsets[partition.0 as usize].borrow()
    }
}
