//! Copies of the records of one partition that can never settle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Settlement;
use crate::coupon::PartitionNo;
use crate::log::DeadLetter;

/// Without a topic for dead letters, each attempt waits for the log's timeout, and the partition with it.
const RETRY_EVERY: Duration = Duration::from_secs(60);

pub(super) struct DeadLetters {
    settlement: Arc<Settlement>,
    partition: PartitionNo,
    failed_at: Option<Instant>,
}

impl DeadLetters {
    pub(super) fn new(settlement: Arc<Settlement>, partition: PartitionNo) -> Self {
        Self { settlement, partition, failed_at: None }
    }

    /// Call it before the outcomes are written: a crash in between leaves two copies instead of none.
    pub(super) async fn keep(&mut self, letters: &[DeadLetter<'_>]) {
        let (Some(first), partition) = (letters.first(), self.partition) else { return };
        let offset = first.stored.offset;
        for letter in letters {
            let (offset, reason) = (letter.stored.offset, letter.reason);
            tracing::error!(%partition, offset, reason, "record cannot settle, moving it to the dead letters");
        }
        if self.failed_at.is_some_and(|failed_at| failed_at.elapsed() < RETRY_EVERY) {
            tracing::error!(%partition, offset, records = letters.len(), "dead letters not kept; the last attempt failed less than a minute ago");
            return;
        }
        self.failed_at = None;
        if let Err(error) = self.settlement.log.dead_letter(partition, letters).await {
            self.failed_at = Some(Instant::now());
            tracing::error!(%partition, offset, records = letters.len(), %error, "dead letters not kept; the records are still in the log until its retention ends");
        }
    }
}
