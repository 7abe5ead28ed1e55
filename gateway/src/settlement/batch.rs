//! One batch of a partition: settled in as many transactions as it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Settlement;
use super::dead_letters::DeadLetters;
use super::exhausted::Exhausted;
use super::record::{decode, item, subject};
use super::releases::{Rejected, Releases};
use super::verdict::{Facts, Item, Verdict, settle};
use crate::background::fault_point;
use crate::campaign_cache::SettlementGuard;
use crate::coupon::{GroupNo, Offset, Outcome, PartitionNo, Reason, RequestId, Settled, now_ms};
use crate::ledger::{Claim, LedgerError, Transaction};
use crate::log::{DeadLetter, Stored};
use crate::telemetry::{BatchSettled, SettlementRetried};

/// The first wait after a failure; it doubles up to [`RETRY_MAX`].
pub(super) const RETRY_MIN: Duration = Duration::from_millis(10);
/// Bounds how long settlement stays idle after the ledger is reachable again.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(1);

/// Settles the batches of one partition. Dropped at any point, it leaves no half batch: an uncommitted transaction is
/// rolled back, and its records are settled after the next claim.
pub(super) struct Batches {
    settlement: Arc<Settlement>,
    partition: PartitionNo,
    releases: Arc<Releases>,
    dead_letters: DeadLetters,
    exhausted: Exhausted,
}

/// Another process claimed the partition.
pub(super) struct Fenced;

/// What came of one transaction.
enum Attempt {
    /// It committed, or had nothing to commit.
    Done(Verdict),
    /// Another process claimed the partition.
    Fenced,
    /// The ledger's offset is not the one this task expected.
    Elsewhere(Offset),
}

impl Batches {
    pub(super) fn new(settlement: Arc<Settlement>, partition: PartitionNo, releases: Arc<Releases>) -> Self {
        let dead_letters = DeadLetters::new(Arc::clone(&settlement), partition);
        Self { settlement, partition, releases, dead_letters, exhausted: Exhausted::default() }
    }

    /// Settles all of a batch: in one transaction, unless a shard runs out, the ledger fails, or a record cannot be
    /// stored.
    pub(super) async fn settle(&mut self, claim: &mut Claim, read: &[Stored]) -> Result<(), Fenced> {
        let partition = self.partition;
        let mut items: Vec<Item> = read.iter().map(|stored| item(partition, stored)).collect();
        let oldest = items.iter().find_map(|item| item.content.as_ref().ok()).map_or_else(now_ms, |a| a.arrived_at_ms);
        self.settlement.progress.begin(partition, oldest);
        self.dead_letters.keep(&undecodable(&items, read)).await;
        let mut wait = RETRY_MIN;
        let mut start = 0;
        let mut length_max = items.len();
        while start < items.len() {
            let end = items.len().min(start + length_max);
            let released_offset = self.releases.released().min(claim.next_offset);
            match self.attempt(*claim, released_offset, &items[start..end]).await {
                Ok(Attempt::Done(verdict)) => {
                    self.exhausted.remember(&verdict);
                    start += verdict.decided;
                    if let Some(last) = start.checked_sub(1).filter(|_| verdict.decided > 0) {
                        let next_offset = items[last].offset + 1;
                        // A replay may be of a rejected request that was accepted and counted again. Catching up
                        // reads such a batch from the log again, and the outcomes from the ledger.
                        if verdict.replayed == 0 {
                            self.releases.add(claim.next_offset, next_offset, &rejected(&verdict, &items, read));
                        }
                        *claim = Claim { next_offset, released_offset, ..*claim };
                    }
                    wait = RETRY_MIN;
                }
                Ok(Attempt::Fenced) => return Err(Fenced),
                Ok(Attempt::Elsewhere(next_offset)) => {
                    // Ahead: a commit whose answer was lost did happen. Behind: the batch is read again from there.
                    self.subtract_unsettled(items[start..].iter().take_while(|item| item.offset < next_offset));
                    claim.next_offset = next_offset;
                    self.settlement.progress.advance(partition, next_offset);
                    match items.iter().position(|item| item.offset >= next_offset) {
                        Some(index) if items[0].offset <= next_offset => start = index,
                        _ => break,
                    }
                }
                // Bisected down to the one record that can never be stored.
                Err(LedgerError::Permanent { step, source }) if end - start == 1 => {
                    let reason = format!("{step}: {source}");
                    self.dead_letters.keep(&[DeadLetter { stored: &read[start], reason: &reason }]).await;
                    self.subtract_unsettled(&items[start..end]);
                    items[start].content = Err(reason);
                    length_max = items.len();
                }
                Err(LedgerError::Permanent { .. }) => length_max = (end - start) / 2,
                Err(error @ LedgerError::Transient { .. }) => {
                    self.settlement.telemetry.emit(SettlementRetried);
                    tracing::warn!(%partition, %error, "batch rolled back, settling it again");
                    back_off(&mut wait).await;
                }
            }
        }
        self.settlement.progress.finish(partition);
        Ok(())
    }

    async fn attempt(&self, claim: Claim, released_offset: Offset, items: &[Item]) -> Result<Attempt, LedgerError> {
        fault_point("settlement");
        let Settlement { campaigns, ledger, progress, telemetry, layout, .. } = &*self.settlement;
        let begun = Instant::now();
        let group = layout.group_of(claim.partition).unwrap_or(GroupNo::FIRST);
        let guard = campaigns.begin_settlement(group).await;
        let mut transaction = ledger.begin(claim.partition).await?;
        let row = transaction.lock_offset(claim.partition).await?;
        if row.epoch != claim.epoch {
            return Ok(Attempt::Fenced);
        }
        if row.next_offset != claim.next_offset {
            return Ok(Attempt::Elsewhere(row.next_offset));
        }
        let facts = read_facts(&mut *transaction, items, &self.exhausted).await?;
        let verdict = settle(claim.partition, items, facts, now_ms());
        let Some(last) = items[..verdict.decided].last() else { return Ok(Attempt::Done(verdict)) };
        let next_offset = last.offset + 1;
        transaction.take_stock(&verdict.takes).await?;
        if !verdict.settled.is_empty() {
            transaction.insert_outcomes(&verdict.settled).await?;
        }
        transaction.advance(claim, Claim { next_offset, released_offset, ..claim }).await?;
        transaction.commit().await?;

        publish(&guard, &verdict);
        drop(guard);
        self.subtract_unsettled(&items[..verdict.decided]);
        let summary = summary(&verdict, begun.elapsed());
        progress.grant(summary.issued);
        telemetry.emit(summary);
        progress.advance(claim.partition, next_offset);
        Ok(Attempt::Done(verdict))
    }

    /// Each record was counted once when it was appended, also one that is a replay.
    fn subtract_unsettled<'a>(&self, settled: impl IntoIterator<Item = &'a Item>) {
        let mut picked = BTreeMap::new();
        for accepted in settled.into_iter().filter_map(|item| item.content.as_ref().ok()) {
            *picked.entry((accepted.request.coupon_id, accepted.shard_no)).or_default() += 1;
        }
        for ((coupon, shard), records) in picked {
            self.settlement.campaigns.subtract_unsettled(coupon, shard, records);
        }
    }
}

/// Reports what was committed to the campaign cache.
fn publish(guard: &SettlementGuard<'_>, verdict: &Verdict) {
    for take in &verdict.takes {
        let left = verdict.left.get(&take.coupon_id).and_then(|stock| stock.shards.get(&take.shard_no));
        guard.set_remaining(take.coupon_id, take.shard_no, left.copied().unwrap_or(0));
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
fn rejected(verdict: &Verdict, items: &[Item], read: &[Stored]) -> Vec<Rejected> {
    let is_rejected = |settled: &&Settled| matches!(settled.outcome, Outcome::Rejected(_));
    let name = |settled: &Settled| {
        let index = items.binary_search_by_key(&settled.offset, |item| item.offset).ok()?;
        let subject = match &items[index].content {
            Ok(accepted) => subject(accepted),
            Err(_) => subject(&decode(&read[index]).ok()?),
        };
        Some(Rejected { offset: settled.offset, subject })
    };
    verdict.settled.iter().filter(is_rejected).filter_map(name).collect()
}

/// Reads what the verdict needs, in the lock order of all transactions. Grants are read last, so that they include what
/// the last holders of the locks granted.
async fn read_facts(
    transaction: &mut dyn Transaction,
    items: &[Item],
    exhausted: &Exhausted,
) -> Result<Facts, LedgerError> {
    let names: Vec<RequestId> = items.iter().map(|item| item.request_id).collect();
    let requests = items.iter().filter_map(|item| Some(&item.content.as_ref().ok()?.request));
    let holders: BTreeSet<_> = requests.map(|request| (request.coupon_id, request.user_id)).collect();
    let holders: Vec<_> = holders.into_iter().collect();
    Ok(Facts {
        replays: transaction.replays(&names).await?,
        stock: transaction.lock_stock(&exhausted.wanted(items)).await?,
        grants: transaction.grants(&holders).await?,
    })
}

fn summary(verdict: &Verdict, duration: Duration) -> BatchSettled {
    let count =
        |reason| verdict.settled.iter().filter(|settled| settled.outcome == Outcome::Rejected(reason)).count() as u64;
    BatchSettled {
        records: verdict.decided as u64,
        issued: verdict.takes.iter().map(|take| take.records).sum(),
        rejected: Reason::ALL.into_iter().map(|reason| (reason, count(reason))).collect(),
        replayed: verdict.replayed,
        steals: verdict.steals.iter().map(|(coupon, records)| (*coupon, *records)).collect(),
        duration,
    }
}

/// Waits after a failure, longer each time.
pub(super) async fn back_off(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(RETRY_MAX);
}
