//! Reads one partition from the file.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::Row;
use tokio::sync::watch;

use super::frame;
use crate::coupon::{Offset, PartitionNo};
use crate::log::{Gap, LogError, ReadError, Reader, Stored};
use crate::sqlite_file::SqliteFile;

const STEP: &str = "read the log";

pub(super) struct FileReader {
    pub(super) partition: PartitionNo,
    pub(super) end: watch::Receiver<Offset>,
    pub(super) file: Arc<SqliteFile>,
}

impl FileReader {
    async fn wait_and_read(&mut self, from: Offset, records_max: usize) -> Result<Option<Vec<Stored>>, ReadError> {
        let end = *self.end.borrow();
        if from > end {
            return Err(ReadError::Gap(Gap::Short { from, end }));
        }
        let Ok(end) = self.end.wait_for(|end| *end > from).await.map(|end| *end) else { return Ok(None) };
        // Offsets have no gaps, so a batch that begins here or later is not needed. The file may hold batches behind the
        // end that the writer is about to publish: a reader ahead of the end would look like a log that lost records.
        let until = end.min(from.saturating_add(records_max as u64));
        let rows = sqlx::query(include_str!("../sql/embedded/select_batches.sql"))
            .bind(self.partition.0)
            .bind(from.cast_signed())
            .bind(until.cast_signed())
            .fetch_all(&self.file.readers)
            .await
            .map_err(failed)?;
        let mut records = Vec::with_capacity(records_max);
        for row in &rows {
            let base: i64 = row.try_get("base_offset").map_err(failed)?;
            let payload: &[u8] = row.try_get("payload").map_err(failed)?;
            if base.cast_unsigned() > next(&records, from) {
                break;
            }
            frame::decode(base.cast_unsigned(), payload, from, records_max, &mut records)
                .map_err(|source| LogError { step: STEP, source: source.into() })?;
        }
        if records.is_empty() {
            let end = *self.end.borrow();
            let gap = gap(&self.file, self.partition, end, from).await?;
            return Err(ReadError::Gap(gap.unwrap_or(Gap::Missing { from, to: end })));
        }
        Ok(Some(records))
    }
}

/// The offset that must follow.
fn next(records: &[Stored], from: Offset) -> Offset {
    records.last().map_or(from, |last| last.offset + 1)
}

/// What is missing at an offset of a partition that ends at `end`.
pub(super) async fn gap(
    file: &SqliteFile,
    partition: PartitionNo,
    end: Offset,
    offset: Offset,
) -> Result<Option<Gap>, LogError> {
    if offset >= end {
        return Ok(Gap::outside(0, end, offset));
    }
    let rows = sqlx::query(include_str!("../sql/embedded/select_base_at.sql"))
        .bind(partition.0)
        .bind(offset.cast_signed())
        .fetch_all(&file.readers)
        .await
        .map_err(failed)?;
    for row in &rows {
        let base = row.try_get::<i64, _>("base_offset").map_err(failed)?.cast_unsigned();
        let records = row.try_get::<i64, _>("records").map_err(failed)?.cast_unsigned();
        if base > offset {
            return Ok(Some(Gap::Missing { from: offset, to: base }));
        }
        if offset < base + records {
            return Ok(None);
        }
    }
    Ok(Some(Gap::Missing { from: offset, to: end }))
}

fn failed(source: sqlx::Error) -> LogError {
    LogError { step: STEP, source: source.into() }
}

impl Reader for FileReader {
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, ReadError>> {
        Box::pin(self.wait_and_read(from, records_max))
    }
}
