//! The task that settles one partition for as long as it is assigned: it claims the partition, and claims it again
//! when another process fenced it and left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::batch::{Batches, Fenced, RETRY_MAX, RETRY_MIN, back_off};
use super::catch_up::catch_up;
use super::committer::Committer;
use super::context::Settlement;
use super::releases::Releases;
use super::takeover::Takeover;
use crate::coupon::{Offset, PartitionNo};
use crate::ledger::Claim;
use crate::log::{Assignment, Gap, ReadError, Reader};
use crate::telemetry::PartitionOwned;

/// Rejected requests that wait for the counters, in full batches: by default 16,384 requests in 1 MB. Those beyond are
/// read again from the log.
const PENDING_BATCHES_MAX: usize = 8;
/// Interval between turns of reading records again. Settlement continues in between.
const CATCH_UP_EVERY: Duration = Duration::from_secs(1);
/// Bounds each of the two steps at the end of a task: a rebalance or the shutdown waits for them, and the next claim
/// makes up for what they miss.
const END_STEP_MAX: Duration = Duration::from_secs(1);

pub(super) struct PartitionTask {
    settlement: Arc<Settlement>,
    partition: PartitionNo,
    batches: Batches,
    releases: Arc<Releases>,
    /// Absent while another process settles the partition.
    claim: Option<Claim>,
}

impl PartitionTask {
    pub(super) fn new(settlement: Arc<Settlement>, committer: Arc<Committer>, partition: PartitionNo) -> Self {
        let pending_max = PENDING_BATCHES_MAX * settlement.batch_records_max as usize;
        let releases = Arc::new(Releases::new(Arc::clone(&settlement.counters), pending_max));
        let batches = Batches::new(Arc::clone(&settlement), committer, partition, Arc::clone(&releases));
        Self { settlement, partition, batches, releases, claim: None }
    }

    /// Settles until the partition is revoked or `stop` is cancelled.
    pub(super) async fn run(mut self, assignment: Assignment, stop: CancellationToken) {
        let Assignment { mut reader, revoked, .. } = assignment;
        let releases = Arc::clone(&self.releases);
        tokio::select! {
            () = stop.cancelled() => {}
            () = revoked.cancelled() => {}
            () = self.settle(&mut *reader) => {}
            never = releases.run() => match never {},
        }
        // The group waits for the reader before it hands the partition on.
        drop(reader);
        self.end().await;
    }

    async fn settle(&mut self, reader: &mut dyn Reader) {
        let mut takeover = Takeover::new(Arc::clone(&self.settlement), self.partition);
        loop {
            let claim = self.begin().await;
            takeover.claimed();
            let Err(Fenced) = self.follow(claim, reader).await else { return };
            self.lose_claim();
            takeover.wait_until_abandoned().await;
        }
    }

    async fn begin(&mut self) -> Claim {
        let mut wait = RETRY_MIN;
        let claim = loop {
            match self.settlement.ledger.claim(self.partition).await {
                Ok(claim) => break claim,
                Err(error) => {
                    tracing::error!(partition = %self.partition, %error, "partition not claimed, retrying");
                    back_off(&mut wait).await;
                }
            }
        };
        self.settlement.telemetry.emit(PartitionOwned { partition: self.partition, is_owned: true });
        self.settlement.progress.advance(self.partition, claim.next_offset);
        self.releases.restart(claim.released_offset);
        claim
    }

    fn lose_claim(&mut self) -> Option<Claim> {
        self.settlement.telemetry.emit(PartitionOwned { partition: self.partition, is_owned: false });
        self.settlement.progress.finish(self.partition);
        self.settlement.progress.set_gap(self.partition, None);
        self.claim.take()
    }

    /// Settles until the partition is revoked.
    async fn follow(&mut self, mut claim: Claim, reader: &mut dyn Reader) -> Result<(), Fenced> {
        let partition = self.partition;
        let records_max = self.settlement.batch_records_max as usize;
        let mut caught_up = None::<Instant>;
        loop {
            self.claim = Some(claim);
            self.settlement.log.trim(partition, claim.released_offset);
            let is_behind = self.releases.reached() < claim.next_offset;
            if is_behind && caught_up.is_none_or(|caught_up| caught_up.elapsed() >= CATCH_UP_EVERY) {
                if let Err(error) =
                    catch_up(&self.settlement, partition, &self.releases, reader, claim.next_offset).await
                {
                    tracing::warn!(%partition, %error, "rejected requests not read again, retrying every second");
                }
                caught_up = Some(Instant::now());
            }
            let read = reader.read(claim.next_offset, records_max);
            // Without new records, the next turn is due all the same.
            let read = if is_behind { tokio::time::timeout(CATCH_UP_EVERY, read).await } else { Ok(read.await) };
            let read = match read {
                Ok(Ok(Some(read))) => read,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(ReadError::Gap(gap))) => {
                    claim.next_offset = self.wait_at(gap, claim.next_offset).await;
                    continue;
                }
                Ok(Err(error)) => {
                    tracing::error!(%partition, %error, "log not read, retrying every second");
                    tokio::time::sleep(RETRY_MAX).await;
                    continue;
                }
                Err(_) => continue,
            };
            self.settlement.progress.set_gap(partition, None);
            self.batches.settle(&mut claim, &read).await?;
        }
    }

    /// Reports a gap, waits, and returns where to continue: behind the gap, once the ledger records that it is skipped.
    async fn wait_at(&self, gap: Gap, next_offset: Offset) -> Offset {
        let Settlement { ledger, progress, .. } = &*self.settlement;
        let partition = self.partition;
        if progress.set_gap(partition, Some(gap)) != Some(gap) {
            tracing::error!(%partition, reason = gap.explain(partition), "partition stopped at a gap in the log");
        }
        tokio::time::sleep(RETRY_MAX).await;
        match ledger.next_offset(partition).await {
            Ok(skipped_to) if skipped_to != next_offset => {
                progress.advance(partition, skipped_to);
                // Nothing may be behind the gap yet.
                progress.set_gap(partition, None);
                tracing::warn!(%partition, offset = skipped_to, "partition continues behind a skipped gap");
                skipped_to
            }
            _ => next_offset,
        }
    }

    /// Ends in good order: the next claim need not read records again.
    async fn end(mut self) {
        let Some(claim) = self.lose_claim() else { return };
        // Fails while the counters are down.
        let _ = tokio::time::timeout(END_STEP_MAX, self.releases.flush()).await;
        let released_offset = self.releases.released().min(claim.next_offset);
        if released_offset == claim.released_offset {
            return;
        }
        let stored = self.settlement.ledger.store_released(Claim { released_offset, ..claim });
        if !matches!(tokio::time::timeout(END_STEP_MAX, stored).await, Ok(Ok(()))) {
            tracing::warn!(partition = %self.partition, "released offset not stored; the next claim reads the last batches again");
        }
    }
}
