//! Deletes settled batches that are older than the retention: the oldest first, in small steps between the commits of
//! the writer. A step visits the oldest batches of one partition, however many the file holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::time::Instant;

use crate::coupon::{Offset, PartitionNo, UnixMs, now_ms};
use crate::sqlite_file::SqliteFile;

/// A step delays the next commit, so it deletes no more batches than take about as long as one.
const STEP_BATCHES_MAX: usize = 256;
/// Bounds a step by size: four full batches.
const STEP_RECORDS_MAX: Offset = 4096;
/// Pause between steps: most of the time belongs to appends.
const STEP_PAUSE: Duration = Duration::from_millis(10);
/// Interval between rounds that found nothing to delete.
const ROUND_EVERY: Duration = Duration::from_secs(60);

/// The offsets before which all records of a partition may be deleted.
pub(super) struct SettledOffsets(Vec<AtomicU64>);

impl SettledOffsets {
    pub(super) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn set(&self, partition: PartitionNo, offset: Offset) {
        if let Some(settled) = self.0.get(partition.0 as usize) {
            settled.store(offset, Ordering::Relaxed);
        }
    }

    fn get(&self, partition: usize) -> Offset {
        self.0[partition].load(Ordering::Relaxed)
    }
}

/// Visits the partitions in turn, one a step.
pub(super) struct Trimmer {
    file: Arc<SqliteFile>,
    settled: Arc<SettledOffsets>,
    /// `None` keeps all records.
    retention: Option<Duration>,
    /// When the next step is due.
    due: Instant,
    /// The partition of the next step.
    partition: usize,
    /// Whether this round deleted anything: there may be more.
    has_deleted: bool,
}

impl Trimmer {
    pub(super) fn new(file: Arc<SqliteFile>, settled: Arc<SettledOffsets>, retention: Option<Duration>) -> Self {
        Self { file, settled, retention, due: Instant::now(), partition: 0, has_deleted: false }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Trims one partition and plans the next step. A failure is logged, and trimming pauses for a minute. Then it
    /// continues with the next partition: one that cannot be trimmed does not keep the records of the others.
    pub(super) async fn step(&mut self) {
        let partition = self.partition;
        self.partition = (partition + 1) % self.settled.0.len();
        match self.trim(partition).await {
            Ok(deleted) => self.has_deleted |= deleted > 0,
            Err(error) => {
                tracing::warn!(partition, %error, "log not trimmed, retrying in its next turn");
                self.due = Instant::now() + ROUND_EVERY;
                return;
            }
        }
        let is_idle = self.partition == 0 && !std::mem::take(&mut self.has_deleted);
        self.due = Instant::now() + if is_idle { ROUND_EVERY } else { STEP_PAUSE };
    }

    /// Answers with the number of deleted batches.
    async fn trim(&self, partition: usize) -> Result<u64, sqlx::Error> {
        let partition_no = i64::try_from(partition).expect("the options bound it");
        let oldest = sqlx::query(include_str!("../sql/embedded/select_oldest.sql"))
            .bind(partition_no)
            .bind(i64::try_from(STEP_BATCHES_MAX + 1).expect("it is small"))
            .try_map(|row| Batch::of(&row))
            .fetch_all(&self.file.writer)
            .await?;
        let Some(keep_from) = self.keep_from(partition, &oldest) else { return Ok(0) };
        let deleted = sqlx::query(include_str!("../sql/embedded/delete_batches.sql"))
            .bind(partition_no)
            .bind(keep_from.cast_signed())
            .execute(&self.file.writer)
            .await?;
        Ok(deleted.rows_affected())
    }

    /// The base offset of the first batch that stays, if one before it does not. The last one stays in any case: if it
    /// is the newest of its partition, the next batch continues from its end offset.
    fn keep_from(&self, partition: usize, oldest: &[Batch]) -> Option<Offset> {
        let (first, last) = (oldest.first()?, oldest.last()?);
        let settled = self.settled.get(partition);
        let retention_ms = UnixMs::try_from(self.retention?.as_millis()).unwrap_or(UnixMs::MAX);
        let expired_before = now_ms().saturating_sub(retention_ms);
        let stays = |batch: &&Batch| {
            batch.end > settled || batch.appended_at_ms >= expired_before || batch.end - first.base > STEP_RECORDS_MAX
        };
        let kept = oldest.iter().find(stays).unwrap_or(last);
        (kept.base > first.base).then_some(kept.base)
    }
}

struct Batch {
    base: Offset,
    end: Offset,
    appended_at_ms: UnixMs,
}

impl Batch {
    fn of(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            base: row.try_get::<i64, _>("base_offset")?.cast_unsigned(),
            end: row.try_get::<i64, _>("end_offset")?.cast_unsigned(),
            appended_at_ms: row.try_get("appended_at_ms")?,
        })
    }
}
