//! How far each partition is settled, for those who wait for it and those who watch the lag.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::coupon::{Offset, PartitionNo, UnixMs};

/// The progress of all partitions.
#[derive(Debug)]
pub struct Progress {
    partitions: Vec<Partition>,
    granted: AtomicU64,
}

#[derive(Debug)]
struct Partition {
    next_offset: watch::Sender<Offset>,
    /// When the first record of the batch under way arrived; 0 while there is none.
    oldest_ms: AtomicI64,
}

impl Progress {
    /// So many partitions, each settled up to the offset at its index.
    #[must_use]
    pub fn new(next_offsets: Vec<Offset>) -> Self {
        let partitions = next_offsets
            .into_iter()
            .map(|next| Partition { next_offset: watch::Sender::new(next), oldest_ms: AtomicI64::new(0) })
            .collect();
        Self { partitions, granted: AtomicU64::new(0) }
    }

    /// The first offset that is not settled.
    #[must_use]
    pub fn next_offset(&self, partition: PartitionNo) -> Offset {
        self.partition(partition).map_or(0, |partition| *partition.next_offset.borrow())
    }

    /// Resolves when the record at `offset` is settled.
    pub async fn settled(&self, partition: PartitionNo, offset: Offset) {
        let Some(partition) = self.partition(partition) else { return };
        // The sender lives as long as this.
        let _ = partition.next_offset.subscribe().wait_for(|next| *next > offset).await;
    }

    /// How long the oldest record of the batch under way has waited, in seconds.
    #[must_use]
    pub fn age_seconds(&self, partition: PartitionNo, now: UnixMs) -> f64 {
        let oldest = self.partition(partition).map_or(0, |partition| partition.oldest_ms.load(Ordering::Relaxed));
        if oldest == 0 { 0.0 } else { (now - oldest).max(0) as f64 / 1000.0 }
    }

    /// Coupons granted since this process started.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    pub(super) fn grant(&self, coupons: u64) {
        self.granted.fetch_add(coupons, Ordering::Relaxed);
    }

    pub(super) fn begin(&self, partition: PartitionNo, oldest: UnixMs) {
        if let Some(partition) = self.partition(partition) {
            partition.oldest_ms.store(oldest, Ordering::Relaxed);
        }
    }

    pub(super) fn advance(&self, partition: PartitionNo, next_offset: Offset) {
        if let Some(partition) = self.partition(partition) {
            partition.next_offset.send_replace(next_offset);
        }
    }

    /// Another process settled up to there.
    pub fn catch_up(&self, partition: PartitionNo, next_offset: Offset) {
        if let Some(partition) = self.partition(partition) {
            let further = |known: &mut Offset| {
                let is_further = *known < next_offset;
                *known = next_offset.max(*known);
                is_further
            };
            partition.next_offset.send_if_modified(further);
        }
    }

    pub(super) fn finish(&self, partition: PartitionNo) {
        self.begin(partition, 0);
    }

    fn partition(&self, partition: PartitionNo) -> Option<&Partition> {
        self.partitions.get(partition.0 as usize)
    }
}
