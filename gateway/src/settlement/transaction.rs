//! One transaction: settles what one partition or several contribute to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Settlement;
use super::exhausted::union;
use super::verdict::{Facts, Item, Verdict, settle};
use crate::background::fault_point;
use crate::campaign_cache::SettlementGuard;
use crate::coupon::{CouponId, GroupNo, Offset, Outcome, Reason, RequestId, now_ms};
use crate::ledger::{Claim, LedgerError, Shards, Transaction};
use crate::telemetry::BatchSettled;

/// What one partition contributes to a transaction.
pub(super) struct Part {
    pub(super) claim: Claim,
    /// Before this offset, the counters have forgotten every rejected request.
    pub(super) released_offset: Offset,
    pub(super) batch: Arc<[Item]>,
    /// Which items of the batch. At least one.
    pub(super) range: Range<usize>,
    /// The shards that the verdict on them needs.
    pub(super) wanted: BTreeMap<CouponId, Shards>,
    /// The batch has failed before, so no other partition shares the transaction.
    pub(super) is_suspect: bool,
}

/// What came of a part.
pub(super) enum Attempt {
    /// It committed, or had nothing to commit. The verdict is on all parts.
    Done(Arc<Verdict>),
    /// Another process claimed the partition.
    Fenced,
    /// The ledger's offset is not the one this task expected.
    Elsewhere(Offset),
}

impl Part {
    fn items(&self) -> &[Item] {
        &self.batch[self.range.clone()]
    }

    fn decided(&self, verdict: &Verdict) -> &[Item] {
        &self.items()[..verdict.decided_of(self.claim.partition)]
    }

    /// The claim after a verdict. `None` if the verdict decided no item of the part.
    pub(super) fn claim_after(&self, verdict: &Verdict) -> Option<Claim> {
        let next_offset = self.decided(verdict).last()?.offset + 1;
        Some(Claim { next_offset, released_offset: self.released_offset, ..self.claim })
    }
}

/// Settles parts of one ledger group, at least one, in one transaction. Answers in their order.
pub(super) async fn transact(
    settlement: &Settlement,
    group: GroupNo,
    parts: &[Arc<Part>],
) -> Result<Vec<Attempt>, LedgerError> {
    fault_point("settlement");
    let begun = Instant::now();
    let guard = settlement.campaigns.begin_settlement(group).await;
    let mut transaction = settlement.ledger.begin(parts[0].claim.partition).await?;
    let mut refusals = Vec::with_capacity(parts.len());
    for part in parts {
        refusals.push(lock(&mut *transaction, part.claim).await?);
    }
    let is_locked = |(part, refusal): (_, &Option<Attempt>)| refusal.is_none().then_some(part);
    let locked: Vec<&Arc<Part>> = parts.iter().zip(&refusals).filter_map(is_locked).collect();
    let verdict = if locked.is_empty() { Verdict::default() } else { decide(&mut *transaction, &locked).await? };
    if !verdict.decided.is_empty() {
        write(transaction, &locked, &verdict).await?;
        publish(&guard, &verdict);
        drop(guard);
        report(settlement, &locked, &verdict, begun.elapsed());
    }
    let verdict = Arc::new(verdict);
    let attempt = |refusal: Option<Attempt>| refusal.unwrap_or_else(|| Attempt::Done(Arc::clone(&verdict)));
    Ok(refusals.into_iter().map(attempt).collect())
}

/// Locks a partition. Answers why it cannot be settled, if its claim is no longer the newest or its offset differs.
async fn lock(transaction: &mut dyn Transaction, claim: Claim) -> Result<Option<Attempt>, LedgerError> {
    let row = transaction.lock_offset(claim.partition).await?;
    if row.epoch != claim.epoch {
        return Ok(Some(Attempt::Fenced));
    }
    Ok((row.next_offset != claim.next_offset).then_some(Attempt::Elsewhere(row.next_offset)))
}

/// Reads what the verdict needs, in the lock order of all transactions. Grants are read last, so that they include what
/// the last holders of the locks granted.
async fn decide(transaction: &mut dyn Transaction, parts: &[&Arc<Part>]) -> Result<Verdict, LedgerError> {
    let items: Vec<&Item> = parts.iter().flat_map(|part| part.items()).collect();
    let names: Vec<RequestId> = items.iter().map(|item| item.request_id).collect();
    let requests = items.iter().filter_map(|item| Some(&item.content.as_ref().ok()?.request));
    let holders: BTreeSet<_> = requests.map(|request| (request.coupon_id, request.user_id)).collect();
    let holders: Vec<_> = holders.into_iter().collect();
    let facts = Facts {
        replays: transaction.replays(&names).await?,
        stock: transaction.lock_stock(&union(parts.iter().map(|part| part.wanted.clone()))).await?,
        grants: transaction.grants(&holders).await?,
    };
    Ok(settle(&items, facts, now_ms()))
}

async fn write(
    mut transaction: Box<dyn Transaction>,
    parts: &[&Arc<Part>],
    verdict: &Verdict,
) -> Result<(), LedgerError> {
    transaction.take_stock(&verdict.takes).await?;
    if !verdict.settled.is_empty() {
        transaction.insert_outcomes(&verdict.settled).await?;
    }
    for part in parts {
        if let Some(next) = part.claim_after(verdict) {
            transaction.advance(part.claim, next).await?;
        }
    }
    transaction.commit().await
}

/// Reports what was committed to the campaign cache.
fn publish(guard: &SettlementGuard<'_>, verdict: &Verdict) {
    for take in &verdict.takes {
        let left = verdict.left.get(&take.coupon_id).and_then(|stock| stock.shards.get(&take.shard_no));
        guard.set_remaining(take.coupon_id, take.shard_no, left.copied().unwrap_or(0));
    }
}

/// Reports what was committed to everything else.
fn report(settlement: &Settlement, parts: &[&Arc<Part>], verdict: &Verdict, duration: Duration) {
    settlement.subtract_unsettled(parts.iter().flat_map(|part| part.decided(verdict)));
    let summary = summary(verdict, duration);
    settlement.progress.grant(summary.issued);
    settlement.telemetry.emit(summary);
    for next in parts.iter().filter_map(|part| part.claim_after(verdict)) {
        settlement.progress.advance(next.partition, next.next_offset);
    }
}

fn summary(verdict: &Verdict, duration: Duration) -> BatchSettled {
    let count =
        |reason| verdict.settled.iter().filter(|settled| settled.outcome == Outcome::Rejected(reason)).count() as u64;
    BatchSettled {
        records: verdict.decided.values().sum::<usize>() as u64,
        issued: verdict.takes.iter().map(|take| take.records).sum(),
        rejected: Reason::ALL.into_iter().map(|reason| (reason, count(reason))).collect(),
        replayed: verdict.replayed,
        steals: verdict.steals.iter().map(|(coupon, records)| (*coupon, *records)).collect(),
        duration,
    }
}
