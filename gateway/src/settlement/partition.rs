//! One partition: reads its records in order and settles them batch by batch, for as long as it is assigned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Settlement;
use super::dead_letters::DeadLetters;
use super::verdict::{Facts, Item, Stock, Verdict, settle};
use crate::background::fault_point;
use crate::campaign_cache::SettlementGuard;
use crate::counters;
use crate::coupon::{Accepted, CouponId, Offset, Outcome, PartitionNo, Reason, RequestId, UserId, now_ms};
use crate::ledger::{Claim, LedgerError, Shards, Transaction};
use crate::log::{Assignment, DeadLetter, Stored};
use crate::telemetry::{BatchSettled, SettlementRetried};

/// The first wait after a failure; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(10);
/// Bounds how long settlement stays idle after the ledger is reachable again.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Interval between deletions of records that have outlived their retention.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// The task that settles one partition.
pub(super) struct PartitionTask {
    settlement: Arc<Settlement>,
    partition: PartitionNo,
    dead_letters: DeadLetters,
    /// Coupons of which a picked shard was found empty. All their shards are locked at once, which saves the
    /// second transaction of every batch.
    exhausted: BTreeSet<CouponId>,
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

impl PartitionTask {
    pub(super) fn new(settlement: Arc<Settlement>, partition: PartitionNo) -> Self {
        let dead_letters = DeadLetters::new(Arc::clone(&settlement), partition);
        Self { settlement, partition, dead_letters, exhausted: BTreeSet::new() }
    }

    /// Settles until the partition is revoked or another process claims it. Dropped at any point, it leaves no half
    /// batch: an uncommitted transaction is rolled back, and its records are settled after the next start.
    pub(super) async fn run(mut self, assignment: Assignment) {
        let partition = self.partition;
        if let Err(Fenced) = self.follow(assignment).await {
            tracing::warn!(%partition, "partition claimed by another process");
        }
    }

    async fn follow(&mut self, mut assignment: Assignment) -> Result<(), Fenced> {
        let partition = self.partition;
        let mut claim = self.claim().await;
        self.settlement.progress.advance(partition, claim.next_offset);
        let mut trimmed = Instant::now();
        loop {
            let records_max = self.settlement.batch_records_max as usize;
            let read = match assignment.reader.read(claim.next_offset, records_max).await {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::error!(%partition, %error, "log not read, retrying every second");
                    tokio::time::sleep(RETRY_MAX).await;
                    continue;
                }
            };
            self.settle_batch(&mut claim, &read).await?;
            if trimmed.elapsed() > TRIM_EVERY {
                trimmed = Instant::now();
                if let Err(error) = self.settlement.log.trim(partition, claim.next_offset).await {
                    tracing::warn!(%partition, %error, "log not trimmed, retrying in a minute");
                }
            }
        }
    }

    async fn claim(&self) -> Claim {
        let mut wait = RETRY_MIN;
        loop {
            match self.settlement.ledger.claim(self.partition).await {
                Ok(claim) => return claim,
                Err(error) => {
                    tracing::error!(partition = %self.partition, %error, "partition not claimed, retrying");
                    back_off(&mut wait).await;
                }
            }
        }
    }

    /// Settles all of a batch, in as many transactions as it takes: one, unless a shard runs out, the ledger fails,
    /// or a record cannot be stored.
    async fn settle_batch(&mut self, claim: &mut Claim, read: &[Stored]) -> Result<(), Fenced> {
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
            match self.attempt(*claim, &items[start..end]).await {
                Ok(Attempt::Done(verdict)) => {
                    remember_exhausted(&mut self.exhausted, &verdict);
                    start += verdict.decided;
                    if let Some(last) = start.checked_sub(1).filter(|_| verdict.decided > 0) {
                        claim.next_offset = items[last].offset + 1;
                    }
                    wait = RETRY_MIN;
                }
                Ok(Attempt::Fenced) => return Err(Fenced),
                Ok(Attempt::Elsewhere(next_offset)) => {
                    // Ahead: a commit whose answer was lost did happen. Behind: the batch is read again from there.
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

    async fn attempt(&self, claim: Claim, items: &[Item]) -> Result<Attempt, LedgerError> {
        fault_point("settlement");
        let Settlement { campaigns, ledger, progress, telemetry, .. } = &*self.settlement;
        let begun = Instant::now();
        let guard = campaigns.begin_settlement().await;
        let mut transaction = ledger.begin().await?;
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
        transaction.advance(claim, Claim { next_offset, released_offset: next_offset, ..claim }).await?;
        transaction.commit().await?;

        self.publish(&guard, &verdict).await;
        drop(guard);
        let summary = summary(&verdict, begun.elapsed());
        progress.grant(summary.issued);
        telemetry.emit(summary);
        progress.advance(claim.partition, next_offset);
        Ok(Attempt::Done(verdict))
    }

    /// Reports what was committed to the counters and the campaign cache.
    async fn publish(&self, guard: &SettlementGuard<'_>, verdict: &Verdict) {
        let rejected: Vec<_> = verdict.settled.iter().filter_map(rejected_subject).collect();
        if !rejected.is_empty()
            && let Err(error) = self.settlement.counters.forget(&rejected).await
        {
            tracing::warn!(%error, users = rejected.len(), "rejected requests stay counted until the counters expire");
        }
        for take in &verdict.takes {
            let left = verdict.left.get(&take.coupon_id).and_then(|stock| stock.shards.get(&take.shard_no));
            guard.set_remaining(take.coupon_id, take.shard_no, left.copied().unwrap_or(0));
        }
        let mut settled = BTreeMap::new();
        for subject in verdict.settled.iter().filter_map(|settled| settled.subject.as_ref()) {
            *settled.entry((subject.coupon_id, subject.picked_shard)).or_default() += 1;
        }
        for ((coupon, shard), records) in settled {
            guard.subtract_unsettled(coupon, shard, records);
        }
    }
}

fn undecodable<'a>(items: &'a [Item], read: &'a [Stored]) -> Vec<DeadLetter<'a>> {
    let letter = |(stored, item): (&'a Stored, &'a Item)| {
        let reason = item.content.as_ref().err()?;
        Some(DeadLetter { stored, reason })
    };
    read.iter().zip(items).filter_map(letter).collect()
}

/// Reads what the verdict needs, in the lock order of all transactions.
async fn read_facts(
    transaction: &mut dyn Transaction,
    items: &[Item],
    exhausted: &BTreeSet<CouponId>,
) -> Result<Facts, LedgerError> {
    let names: Vec<RequestId> = items.iter().map(|item| item.request_id).collect();
    let mut facts = Facts { replays: transaction.replays(&names).await?, ..Facts::default() };
    let mut picked: BTreeMap<CouponId, (BTreeSet<_>, BTreeSet<UserId>)> = BTreeMap::new();
    for accepted in items.iter().filter_map(|item| item.content.as_ref().ok()) {
        let (shards, users) = picked.entry(accepted.request.coupon_id).or_default();
        shards.insert(accepted.shard_no);
        users.insert(accepted.request.user_id);
    }
    for (coupon, (shards, users)) in picked {
        let complete = exhausted.contains(&coupon);
        let shards = if complete { Shards::All } else { Shards::Some(shards) };
        let Some(locked) = transaction.lock_stock(coupon, &shards).await? else { continue };
        let users: Vec<UserId> = users.into_iter().collect();
        let grants = transaction.grants(coupon, &users).await?;
        facts.grants.extend(grants.into_iter().map(|(user, held)| ((coupon, user), held)));
        let stock =
            Stock { per_user_limit: locked.per_user_limit, shards: locked.shards.into_iter().collect(), complete };
        facts.stock.insert(coupon, stock);
    }
    Ok(facts)
}

fn item(partition: PartitionNo, stored: &Stored) -> Item {
    let decoded = Accepted::decode(&stored.record.value).map_err(|error| error.to_string());
    let header = stored.record.headers.request_id;
    let request_id = match &decoded {
        Ok(accepted) => accepted.request_id,
        Err(_) => header.unwrap_or_else(|| RequestId::from_log_position(partition, stored.offset)),
    };
    Item { offset: stored.offset, request_id, content: decoded }
}

/// A coupon stays exhausted while its picked shards need help, so that its batches lock all shards at once.
fn remember_exhausted(exhausted: &mut BTreeSet<CouponId>, verdict: &Verdict) {
    let needed_help = |coupon: &CouponId| {
        verdict.steals.contains_key(coupon)
            || verdict.settled.iter().any(|settled| {
                settled.outcome == Outcome::Rejected(Reason::SoldOut)
                    && settled.subject.as_ref().is_some_and(|subject| subject.coupon_id == *coupon)
            })
    };
    if verdict.decided > 0 {
        exhausted.retain(needed_help);
    }
    exhausted.extend(verdict.exhausted);
}

fn rejected_subject(settled: &crate::coupon::Settled) -> Option<counters::Subject> {
    let subject = settled.subject.as_ref()?;
    matches!(settled.outcome, Outcome::Rejected(_)).then_some(counters::Subject {
        request_id: settled.request_id,
        coupon_id: subject.coupon_id,
        user_id: subject.user_id,
        arrived_at_ms: subject.arrived_at_ms,
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

async fn back_off(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(RETRY_MAX);
}
