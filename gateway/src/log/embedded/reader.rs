//! Reads one partition from the file.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::Row;
use tokio::sync::watch;

use super::frame;
use crate::coupon::{Offset, PartitionNo};
use crate::log::{LogError, Reader, Stored};
use crate::sqlite_file::SqliteFile;

/// Batches that one query reads: enough for a full settlement, few enough to stay in the cache.
const READ_BATCHES_MAX: u32 = 16;
const STEP: &str = "read the log";

pub(super) struct FileReader {
    pub(super) partition: PartitionNo,
    pub(super) end: watch::Receiver<Offset>,
    pub(super) file: Arc<SqliteFile>,
}

impl FileReader {
    async fn wait_and_read(&mut self, from: Offset, records_max: usize) -> Result<Option<Vec<Stored>>, LogError> {
        if self.end.wait_for(|end| *end > from).await.is_err() {
            return Ok(None);
        }
        let rows = sqlx::query(include_str!("../sql/embedded/select_batches.sql"))
            .bind(self.partition.0)
            .bind(from.cast_signed())
            .bind(READ_BATCHES_MAX)
            .fetch_all(&self.file.readers)
            .await
            .map_err(failed)?;
        let mut records = Vec::with_capacity(records_max);
        for row in &rows {
            let base: i64 = row.try_get("base_offset").map_err(failed)?;
            let payload: &[u8] = row.try_get("payload").map_err(failed)?;
            frame::decode(base.cast_unsigned(), payload, from, records_max, &mut records)
                .map_err(|source| LogError { step: STEP, source: source.into() })?;
        }
        Ok(Some(records))
    }
}

fn failed(source: sqlx::Error) -> LogError {
    LogError { step: STEP, source: source.into() }
}

impl Reader for FileReader {
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, LogError>> {
        Box::pin(self.wait_and_read(from, records_max))
    }
}
