//! The only writer: collects a group of records, makes it durable with one statement, and acknowledges it. In between,
//! it trims the file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{QueryBuilder, Sqlite};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::ends::Ends;
use super::frame;
use super::trimmer::Trimmer;
use crate::background::fault_point;
use crate::coupon::{PartitionNo, now_ms};
use crate::log::{AckSender, AppendError, Record};
use crate::sqlite_file::{SqliteFile, SqliteFileError};
use crate::telemetry::{GroupAppended, Telemetry};

/// A larger group would delay its first record by more than a commit takes.
const GROUP_RECORDS_MAX: usize = 1024;
/// How soon an idle log notices that its file was deleted, or can be written again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) enum Command {
    Append(PartitionNo, Record, AckSender),
    Close,
}

pub(super) struct Writer {
    file: Arc<SqliteFile>,
    ends: Arc<Ends>,
    trimmer: Trimmer,
    telemetry: Telemetry,
    /// After a failed commit the file may or may not hold the group, so the end offsets must be read again.
    must_reload_ends: bool,
    /// Tells `close` that the writer has ended, in whichever way it did.
    _ended: DropGuard,
}

/// The records of a group that go to one partition.
#[derive(Default)]
struct Batch {
    payload: Vec<u8>,
    acks: Vec<AckSender>,
}

impl Writer {
    pub(super) fn new(
        file: Arc<SqliteFile>,
        ends: Arc<Ends>,
        trimmer: Trimmer,
        telemetry: Telemetry,
        ended: DropGuard,
    ) -> Self {
        Self { file, ends, trimmer, telemetry, must_reload_ends: false, _ended: ended }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut received = Vec::with_capacity(GROUP_RECORDS_MAX);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            // Neither branch goes first: a busy log is trimmed too.
            tokio::select! {
                count = commands.recv_many(&mut received, GROUP_RECORDS_MAX) => {
                    if count == 0 {
                        break;
                    }
                    self.execute(&mut received, &mut commands).await;
                }
                () = tokio::time::sleep_until(self.trimmer.due()) => self.trimmer.step().await,
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// A process that is not ready gets no requests, so nothing else notices that the file is gone, or writable again.
    async fn look(&mut self) {
        if let Err(error) = self.file.check() {
            self.fail(&error);
        } else if self.must_reload_ends && self.probe().await.is_ok() {
            self.must_reload_ends = false;
            self.report_writable();
        }
    }

    fn fail(&mut self, error: &SqliteFileError) -> Arc<str> {
        self.must_reload_ends = true;
        let failure: Arc<str> = error.to_string().into();
        if self.ends.set_failure(Some(Arc::clone(&failure))).is_none() {
            tracing::error!(%failure, "log is not writable: rejecting requests with 503");
        }
        failure
    }

    async fn execute(&mut self, received: &mut Vec<Command>, commands: &mut mpsc::Receiver<Command>) {
        let mut group: BTreeMap<PartitionNo, Batch> = BTreeMap::new();
        for command in received.drain(..) {
            match command {
                Command::Append(partition, record, ack) => {
                    let batch = group.entry(partition).or_default();
                    frame::encode(&record, &mut batch.payload);
                    batch.acks.push(ack);
                }
                // Records that are still queued are received all the same.
                Command::Close => commands.close(),
            }
        }
        if !group.is_empty() {
            self.append(group).await;
        }
    }

    async fn append(&mut self, group: BTreeMap<PartitionNo, Batch>) {
        fault_point("log writer");
        let begun = Instant::now();
        let records = group.values().map(|batch| batch.acks.len()).sum();
        match self.commit(&group).await {
            Ok(()) => {
                self.telemetry.emit(GroupAppended { records, duration: begun.elapsed() });
                self.report_writable();
                self.acknowledge(group);
            }
            Err(error) => {
                let failure = self.fail(&error);
                for ack in group.into_values().flat_map(|batch| batch.acks) {
                    // The client may have disconnected.
                    let _ = ack.send(Err(AppendError::NotWritten(Arc::clone(&failure))));
                }
            }
        }
    }

    /// Tries to write as an append does.
    async fn probe(&self) -> Result<(), sqlx::Error> {
        sqlx::query(include_str!("../sql/embedded/probe.sql")).execute(&self.file.writer).await?;
        self.ends.reload(&self.file).await
    }

    fn report_writable(&self) {
        if self.ends.set_failure(None).is_some() {
            tracing::info!("log is writable again");
        }
    }

    async fn commit(&mut self, group: &BTreeMap<PartitionNo, Batch>) -> Result<(), SqliteFileError> {
        self.file.check()?;
        if self.must_reload_ends {
            self.ends.reload(&self.file).await?;
            self.must_reload_ends = false;
        }
        let now = now_ms();
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO record_batch (partition_no, base_offset, records, appended_at_ms, payload) ",
        );
        insert.push_values(group, |mut row, (partition, batch)| {
            row.push_bind(partition.0)
                .push_bind(self.ends.get(*partition).cast_signed())
                .push_bind(i64::try_from(batch.acks.len()).unwrap_or(i64::MAX))
                .push_bind(now)
                .push_bind(&batch.payload);
        });
        insert.build().execute(&self.file.writer).await?;
        Ok(())
    }

    fn acknowledge(&self, group: BTreeMap<PartitionNo, Batch>) {
        for (partition, batch) in group {
            let base = self.ends.get(partition);
            // Before the answers: a client may ask for the status of its request at once.
            self.ends.advance(partition, base + batch.acks.len() as u64);
            for (offset, ack) in (base..).zip(batch.acks) {
                // The client may have disconnected; its record is settled all the same.
                let _ = ack.send(Ok(offset));
            }
        }
    }
}
