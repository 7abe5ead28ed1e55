//! One batch of a partition: settled in as many transactions as it takes.

use std::sync::Arc;
use std::time::Duration;

use super::committer::Committer;
use super::context::Settlement;
use super::dead_letters::DeadLetters;
use super::exhausted::Exhausted;
use super::record::{decode, item, subject};
use super::releases::{Rejected, Releases};
use super::transaction::{Attempt, Part};
use super::verdict::Item;
use crate::coupon::{Outcome, PartitionNo, Settled, now_ms};
use crate::ledger::{Claim, LedgerError};
use crate::log::{DeadLetter, Stored};

/// The first wait after a failure; it doubles up to [`RETRY_MAX`].
pub(super) const RETRY_MIN: Duration = Duration::from_millis(10);
/// Bounds how long settlement stays idle after the ledger is reachable again.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(1);

/// Settles the batches of one partition. Dropped at any point, it leaves no half batch: its own transaction is rolled
/// back, and a shared one that another partition runs goes on. Records without a commit are settled after the next claim.
pub(super) struct Batches {
    settlement: Arc<Settlement>,
    committer: Arc<Committer>,
    partition: PartitionNo,
    releases: Arc<Releases>,
    dead_letters: DeadLetters,
    exhausted: Exhausted,
}

/// Another process claimed the partition.
pub(super) struct Fenced;

impl Batches {
    pub(super) fn new(
        settlement: Arc<Settlement>,
        committer: Arc<Committer>,
        partition: PartitionNo,
        releases: Arc<Releases>,
    ) -> Self {
        let dead_letters = DeadLetters::new(Arc::clone(&settlement), partition);
        Self { settlement, committer, partition, releases, dead_letters, exhausted: Exhausted::default() }
    }

    /// Settles all of a batch: in one transaction, unless a shard runs out, the ledger fails, or a record cannot be
    /// stored.
    pub(super) async fn settle(&mut self, claim: &mut Claim, read: &[Stored]) -> Result<(), Fenced> {
        let partition = self.partition;
        let mut items: Arc<[Item]> = read.iter().map(|stored| item(partition, stored)).collect();
        let oldest = items.iter().find_map(|item| item.content.as_ref().ok()).map_or_else(now_ms, |a| a.arrived_at_ms);
        self.settlement.progress.begin(partition, oldest);
        self.dead_letters.keep(&undecodable(&items, read)).await;
        let mut wait = RETRY_MIN;
        let mut start = 0;
        let mut length_max = items.len();
        // Whatever made the batch fail may be in its records, and would fail every partition that shares a transaction.
        let mut has_failed = false;
        while start < items.len() {
            let end = items.len().min(start + length_max);
            let part = Arc::new(Part {
                claim: *claim,
                released_offset: self.releases.released().min(claim.next_offset),
                batch: Arc::clone(&items),
                range: start..end,
                wanted: self.exhausted.wanted(&items[start..end]),
                is_suspect: has_failed,
            });
            let attempt = self.committer.settle(&part).await;
            has_failed |= attempt.is_err();
            match attempt {
                Ok(Attempt::Done(verdict)) => {
                    self.exhausted.remember(&verdict, partition);
                    start += verdict.decided_of(partition);
                    if let Some(next) = part.claim_after(&verdict) {
                        // A replay may be of a rejected request that was accepted and counted again. Catching up
                        // reads such a batch from the log again, and the outcomes from the ledger.
                        if verdict.settled_of(partition).count() == verdict.decided_of(partition) {
                            let rejected = rejected(verdict.settled_of(partition), &items, read);
                            self.releases.add(claim.next_offset, next.next_offset, &rejected);
                        }
                        *claim = next;
                    }
                    wait = RETRY_MIN;
                }
                Ok(Attempt::Fenced) => return Err(Fenced),
                Ok(Attempt::Elsewhere(next_offset)) => {
                    // Ahead: a commit whose answer was lost did happen. Behind: the batch is read again from there.
                    let settled = items[start..].iter().take_while(|item| item.offset < next_offset);
                    self.settlement.subtract_unsettled(settled);
                    claim.next_offset = next_offset;
                    self.settlement.progress.advance(partition, next_offset);
                    match items.iter().position(|item| item.offset >= next_offset) {
                        Some(index) if items[0].offset <= next_offset => start = index,
                        _ => break,
                    }
                }
                Err(error) => match &*error {
                    // Bisected down to the one record that can never be stored.
                    LedgerError::Permanent { step, source } if end - start == 1 => {
                        let reason = format!("{step}: {source}");
                        self.dead_letters.keep(&[DeadLetter { stored: &read[start], reason: &reason }]).await;
                        self.settlement.subtract_unsettled(&items[start..end]);
                        Arc::make_mut(&mut items)[start].content = Err(reason);
                        length_max = items.len();
                    }
                    LedgerError::Permanent { .. } => length_max = (end - start) / 2,
                    LedgerError::Transient { .. } => {
                        tracing::warn!(%partition, %error, "batch rolled back, settling it again");
                        back_off(&mut wait).await;
                    }
                },
            }
        }
        self.settlement.progress.finish(partition);
        Ok(())
    }
}

fn undecodable<'a>(items: &'a [Item], read: &'a [Stored]) -> Vec<DeadLetter<'a>> {
    let letter = |(stored, item): (&'a Stored, &'a Item)| {
        let reason = item.content.as_ref().err()?;
        Some(DeadLetter { stored, reason })
    };
    read.iter().zip(items).filter_map(letter).collect()
}

/// The rejected requests of users. A record that could not be stored still names its user.
fn rejected<'a>(settled: impl Iterator<Item = &'a Settled>, items: &[Item], read: &[Stored]) -> Vec<Rejected> {
    let is_rejected = |settled: &&Settled| matches!(settled.outcome, Outcome::Rejected(_));
    let name = |settled: &Settled| {
        let index = items.binary_search_by_key(&settled.offset, |item| item.offset).ok()?;
        let subject = match &items[index].content {
            Ok(accepted) => subject(accepted),
            Err(_) => subject(&decode(&read[index]).ok()?),
        };
        Some(Rejected { offset: settled.offset, subject })
    };
    settled.filter(is_rejected).filter_map(name).collect()
}

/// Waits after a failure, longer each time.
pub(super) async fn back_off(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(RETRY_MAX);
}
