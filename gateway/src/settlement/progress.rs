//! How far each partition is settled. Status calls wait for it, and the lag is computed from it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::coupon::{Offset, PartitionNo, UnixMs};
use crate::log::{Gap, Log};

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
    /// Since when a record has been seen to wait at `next_offset`.
    waiting: Mutex<Option<Waiting>>,
    /// Where this process stopped settling the partition.
    gap: Mutex<Option<Gap>>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    at: Offset,
    since_ms: UnixMs,
}

impl Progress {
    /// Takes the first unsettled offset of each partition, in order.
    #[must_use]
    pub fn new(next_offsets: Vec<Offset>) -> Self {
        let partitions = next_offsets
            .into_iter()
            .map(|next| Partition {
                next_offset: watch::Sender::new(next),
                oldest_ms: AtomicI64::new(0),
                waiting: Mutex::default(),
                gap: Mutex::default(),
            })
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

    /// Waits until every record is settled that is in these partitions now. `false` if the end of one is not known.
    pub async fn settled_to_end(&self, log: &dyn Log, partitions: impl Iterator<Item = PartitionNo>) -> bool {
        // Asked for at once: each answer takes as long as all.
        let ends: Vec<_> = partitions.map(|partition| (partition, log.fresh_end_offset(partition))).collect();
        for (partition, end) in ends {
            let Some(end) = end.await else { return false };
            if let Some(last) = end.checked_sub(1) {
                self.settled(partition, last).await;
            }
        }
        true
    }

    /// How long the oldest unsettled record of a partition has waited, in seconds; 0 if the partition ends at
    /// `end_offset` and is settled up to there.
    ///
    /// Known from its arrival while this process settles its batch. Otherwise it is the time for which this function
    /// has seen records wait at the same offset, so call it regularly.
    #[must_use]
    pub fn lag_seconds(&self, partition: PartitionNo, end_offset: Offset, now: UnixMs) -> f64 {
        self.partition(partition).map_or(0.0, |partition| partition.lag_seconds(end_offset, now))
    }

    /// The gap at which this process stopped settling a partition.
    #[must_use]
    pub fn gap(&self, partition: PartitionNo) -> Option<Gap> {
        *self.partition(partition)?.gap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this process does not settle all of its partitions; `None` if it does.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        (0..).map(PartitionNo).zip(&self.partitions).find_map(|(no, _)| Some(self.gap(no)?.explain(no)))
    }

    /// Coupons granted since this process started.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// Adds coupons that this process granted.
    pub fn grant(&self, coupons: u64) {
        self.granted.fetch_add(coupons, Ordering::Relaxed);
    }

    /// This process settles a batch whose oldest record arrived at this time.
    pub fn begin(&self, partition: PartitionNo, oldest: UnixMs) {
        if let Some(partition) = self.partition(partition) {
            partition.oldest_ms.store(oldest, Ordering::Relaxed);
        }
    }

    pub(super) fn advance(&self, partition: PartitionNo, next_offset: Offset) {
        if let Some(partition) = self.partition(partition) {
            partition.next_offset.send_replace(next_offset);
        }
    }

    /// Stores the gap, or that there is none, and returns what was stored before.
    pub(super) fn set_gap(&self, partition: PartitionNo, gap: Option<Gap>) -> Option<Gap> {
        let partition = self.partition(partition)?;
        std::mem::replace(&mut *partition.gap.lock().unwrap_or_else(PoisonError::into_inner), gap)
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

    /// The batch is settled.
    pub fn finish(&self, partition: PartitionNo) {
        self.begin(partition, 0);
    }

    fn partition(&self, partition: PartitionNo) -> Option<&Partition> {
        self.partitions.get(partition.0 as usize)
    }
}

impl Partition {
    fn lag_seconds(&self, end_offset: Offset, now: UnixMs) -> f64 {
        let at = *self.next_offset.borrow();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if end_offset <= at {
            *waiting = None;
            return 0.0;
        }
        let seen = waiting.filter(|seen| seen.at == at).unwrap_or(Waiting { at, since_ms: now });
        *waiting = Some(seen);
        let since = match self.oldest_ms.load(Ordering::Relaxed) {
            0 => seen.since_ms,
            arrived_at_ms => arrived_at_ms,
        };
        (now - since).max(0) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionNo = PartitionNo(0);

    #[test]
    fn the_lag_of_a_partition_that_nobody_settles_grows_until_its_offset_moves() {
        let progress = Progress::new(vec![5]);
        let lag = |end, now| progress.lag_seconds(PARTITION, end, now);
        assert_eq!(lag(5, 1_000), 0.0, "nothing waits");
        assert_eq!(lag(9, 2_000), 0.0, "seen for the first time");
        assert_eq!(lag(9, 62_000), 60.0);
        progress.catch_up(PARTITION, 7);
        assert_eq!(lag(9, 63_000), 0.0);
        assert_eq!(lag(9, 65_000), 2.0);
    }

    #[test]
    fn the_lag_of_a_batch_in_settlement_is_known_from_its_oldest_record() {
        let progress = Progress::new(vec![5]);
        progress.begin(PARTITION, 1_000);
        assert_eq!(progress.lag_seconds(PARTITION, 9, 31_000), 30.0);
        progress.advance(PARTITION, 9);
        assert_eq!(progress.lag_seconds(PARTITION, 9, 32_000), 0.0);
    }
}
