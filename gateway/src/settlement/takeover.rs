//! A task that is fenced while its partition is still assigned to it claims the partition again, once nobody settles
//! it. Without the wait, two processes would fence each other in turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Settlement;
use crate::coupon::{Offset, PartitionNo};

/// Longer than a batch takes to settle, also on a busy database: a process that settles is seen to do so.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Doubling stops here. Accepted requests wait for at most twice as long after the other process has ended.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) struct Takeover {
    settlement: Arc<Settlement>,
    partition: PartitionNo,
    /// Doubles with every wait.
    wait: Duration,
    claimed_at: Instant,
}

impl Takeover {
    pub(super) fn new(settlement: Arc<Settlement>, partition: PartitionNo) -> Self {
        Self { settlement, partition, wait: WAIT_MIN, claimed_at: Instant::now() }
    }

    /// A claim that outlives [`WAIT_MAX`] ends the contest: after the next one, the wait is short again.
    pub(super) fn claimed(&mut self) {
        self.claimed_at = Instant::now();
    }

    /// Waits until the settled offset stood still for the whole wait although records waited. Other processes that
    /// settle are left alone.
    pub(super) async fn wait_until_abandoned(&mut self) {
        let partition = self.partition;
        if self.claimed_at.elapsed() > WAIT_MAX {
            self.wait = WAIT_MIN;
        }
        tracing::warn!(%partition, "partition claimed by another process, waiting to claim it again");
        loop {
            let waits = |settled: &Offset| *settled < self.settlement.log.end_offset(partition);
            let Some(settled) = self.settled().await.filter(waits) else {
                tokio::time::sleep(WAIT_MIN).await;
                continue;
            };
            tokio::time::sleep(self.wait).await;
            self.wait = (self.wait * 2).min(WAIT_MAX);
            match self.settled().await {
                Some(now) if now == settled => return,
                Some(_) => tracing::info!(%partition, next_wait = ?self.wait, "another process settles the partition"),
                None => {}
            }
        }
    }

    /// The first offset that is not settled; `None` while the ledger does not answer.
    async fn settled(&self) -> Option<Offset> {
        match self.settlement.ledger.next_offset(self.partition).await {
            Ok(next_offset) => {
                self.settlement.progress.catch_up(self.partition, next_offset);
                Some(next_offset)
            }
            Err(error) => {
                tracing::error!(partition = %self.partition, %error, "settled offset not read, retrying");
                None
            }
        }
    }
}
