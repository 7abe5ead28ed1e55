//! What the writer publishes: end offsets and its last failure.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Row;
use tokio::sync::watch;

use crate::coupon::{Offset, PartitionNo};
use crate::sqlite_file::SqliteFile;

pub(super) struct Ends {
    /// The offset after the last durable record, by partition.
    offsets: Vec<watch::Sender<Offset>>,
    /// Why the last append failed; `None` if it succeeded.
    failure: Mutex<Option<Arc<str>>>,
}

impl Ends {
    pub(super) async fn read(file: &SqliteFile, partitions: u32) -> Result<Self, sqlx::Error> {
        let offsets = read_offsets(file, partitions as usize).await?;
        Ok(Self { offsets: offsets.into_iter().map(watch::Sender::new).collect(), failure: Mutex::default() })
    }

    /// Publishes the end offsets that the file holds.
    pub(super) async fn reload(&self, file: &SqliteFile) -> Result<(), sqlx::Error> {
        let stored = read_offsets(file, self.offsets.len()).await?;
        for (end, stored) in self.offsets.iter().zip(stored) {
            end.send_if_modified(|end| std::mem::replace(end, stored) != stored);
        }
        Ok(())
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.offsets.len()).expect("the options bound it")
    }

    /// 0 for a partition that does not exist.
    pub(super) fn get(&self, partition: PartitionNo) -> Offset {
        self.offsets.get(partition.0 as usize).map_or(0, |end| *end.borrow())
    }

    pub(super) fn advance(&self, partition: PartitionNo, end: Offset) {
        self.offsets[partition.0 as usize].send_replace(end);
    }

    /// One receiver per partition, in their order.
    pub(super) fn subscribe(&self) -> impl Iterator<Item = (PartitionNo, watch::Receiver<Offset>)> {
        (0..).map(PartitionNo).zip(self.offsets.iter().map(watch::Sender::subscribe))
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers with the failure that it replaces.
    pub(super) fn set_failure(&self, failure: Option<Arc<str>>) -> Option<Arc<str>> {
        std::mem::replace(&mut *self.failure.lock().unwrap_or_else(PoisonError::into_inner), failure)
    }
}

async fn read_offsets(file: &SqliteFile, partitions: usize) -> Result<Vec<Offset>, sqlx::Error> {
    let mut offsets = Vec::with_capacity(partitions);
    // One search per partition: a single query would visit every batch of the file.
    for partition in 0..partitions {
        let newest = sqlx::query(include_str!("../sql/embedded/select_end.sql"))
            .bind(i64::try_from(partition).expect("the options bound it"))
            .fetch_optional(&file.writer)
            .await?;
        let end: i64 = newest.map_or(Ok(0), |row| row.try_get("end_offset"))?;
        offsets.push(end.cast_unsigned());
    }
    Ok(offsets)
}
