//! How far each partition is settled. Status calls wait for it, and the lag is computed from it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::coupon::{Offset, PartitionNo, UnixMs};

/// How far each partition is settled, in this process or by another one.
#[derive(Debug)]
pub struct Progress {
    partitions: Vec<Partition>,
    granted: AtomicU64,
}

#[derive(Debug)]
struct Partition {
    next_offset: watch::Sender<Offset>,
    /// The arrival time of the oldest record in the current batch; 0 between batches.
    oldest_ms: AtomicI64,
}

impl Progress {
    /// Takes the first unsettled offset of each partition, in order.
    #[must_use]
    pub fn new(next_offsets: Vec<Offset>) -> Self {
        let partitions = next_offsets
            .into_iter()
            .map(|next| Partition { next_offset: watch::Sender::new(next), oldest_ms: AtomicI64::new(0) })
            .collect();
        Self { partitions, granted: AtomicU64::new(0) }
    }

    /// The first offset of a partition that is not settled.
    #[must_use]
    pub fn next_offset(&self, partition: PartitionNo) -> Offset {
        self.partition(partition).map_or(0, |partition| *partition.next_offset.borrow())
    }

    /// Resolves when the record at `offset` is settled.
    pub async fn settled(&self, partition: PartitionNo, offset: Offset) {
        let Some(partition) = self.partition(partition) else { return };
        // Fails only when the sender is dropped, and `self` owns it.
        let _ = partition.next_offset.subscribe().wait_for(|next| *next > offset).await;
    }

    /// The age of the oldest record in the current batch, in seconds; 0 between batches.
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

    /// Moves a partition forward to what another process settled; never back.
    pub fn catch_up(&self, partition: PartitionNo, next_offset: Offset) {
        if let Some(partition) = self.partition(partition) {
            partition.next_offset.send_if_modified(|current| {
                let is_ahead = *current < next_offset;
                *current = next_offset.max(*current);
                is_ahead
            });
        }
    }

    pub(super) fn finish(&self, partition: PartitionNo) {
        self.begin(partition, 0);
    }

    fn partition(&self, partition: PartitionNo) -> Option<&Partition> {
        self.partitions.get(partition.0 as usize)
    }
}
