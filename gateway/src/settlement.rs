//! The second half of a request's way: a batch from one partition becomes outcomes in the ledger.
//!
//! One task a partition reads in offset order and settles a batch in one transaction: outcomes,
//! stock and offset together. A rejection is a row; a failure rolls the whole batch back, and it is
//! settled again. Nothing here knows which log and which ledger it runs on.

mod progress;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bounded::bounded;
use crate::campaigns::{Campaigns, Settling};
use crate::counters::{self, Counters};
use crate::coupon::{Accepted, CouponId, Offset, Outcome, PartitionNo, Reason, RequestId, UserId, now_ms};
use crate::ledger::{Claim, Ledger, LedgerError, Shards, Transaction};
use crate::log::{Assignment, Log, Stored};
use crate::telemetry::{BatchSettled, SettlementRetried, emit};

pub use progress::Progress;
pub use verdict::{Facts, Item, Stock, Verdict, settle};

/// `[settlement]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether this process settles. Records wait in the log while nobody does.
    pub enabled: bool,
    /// Records that one transaction settles at most. A larger batch holds its shard rows for longer,
    /// a smaller one pays more commits.
    #[serde(deserialize_with = "bounded::<_, _, 1, 4096>")]
    pub batch_records_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { enabled: true, batch_records_max: 1024 }
    }
}

/// The first wait after a failure; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(10);
/// A ledger that is back is noticed within this time.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Records are let go in this rhythm once they have outlived their retention.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// What settlement works with.
pub struct Settlement {
    /// Where the records come from.
    pub log: Arc<dyn Log>,
    /// Where the outcomes go.
    pub ledger: Arc<dyn Ledger>,
    /// What rejected requests are given back to.
    pub counters: Arc<dyn Counters>,
    /// Who is told of the stock.
    pub campaigns: Arc<Campaigns>,
    /// Who is told of the offsets.
    pub progress: Arc<Progress>,
    /// How much at once.
    pub options: Options,
}

/// Why a partition is no longer settled here.
enum Ended {
    /// Shutdown, or the partition was revoked.
    Stopped,
    /// Somebody else claimed it.
    Fenced,
}

/// What became of one transaction.
enum Attempt {
    /// It committed, or had nothing to commit.
    Done(Verdict),
    /// Somebody else claimed the partition.
    Fenced,
    /// The ledger's offset is not where this task believed.
    Elsewhere(Offset),
}

impl Settlement {
    /// Settles every partition that the log assigns, until `stop` says so.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut assignments = this.log.assignments();
        let mut partitions = JoinSet::new();
        let mut stopping = stop.clone();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                assignment = assignments.recv() => match assignment {
                    Some(assignment) => {
                        let task = Arc::clone(&this).settle_partition(assignment, stop.clone());
                        partitions.spawn(task);
                    }
                    None => break,
                },
            }
        }
        partitions.join_all().await;
    }

    async fn settle_partition(self: Arc<Self>, assignment: Assignment, mut stop: watch::Receiver<bool>) {
        let partition = assignment.partition;
        let stopped = async move {
            // A sender that is gone means shutdown too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            () = stopped => {}
            ended = self.follow(assignment) => {
                if let Ended::Fenced = ended {
                    tracing::warn!(%partition, "another process settles this partition now");
                }
            }
        }
    }

    /// Reads and settles until the partition ends. Dropped at any point, it leaves no half batch:
    /// what was not committed is rolled back and settled at the next start.
    async fn follow(&self, mut assignment: Assignment) -> Ended {
        let partition = assignment.partition;
        let mut claim = self.claim(partition).await;
        self.progress.advance(partition, claim.next_offset);
        let mut dry = BTreeSet::new();
        let mut trimmed = Instant::now();
        loop {
            let records_max = self.options.batch_records_max as usize;
            let read = match assignment.reader.read(claim.next_offset, records_max).await {
                Ok(Some(read)) => read,
                Ok(None) => return Ended::Stopped,
                Err(error) => {
                    tracing::error!(%partition, %error, "the log cannot be read; trying again");
                    tokio::time::sleep(RETRY_MAX).await;
                    continue;
                }
            };
            if let Ended::Fenced = self.settle_batch(&mut claim, &read, &mut dry).await {
                return Ended::Fenced;
            }
            if trimmed.elapsed() > TRIM_EVERY {
                trimmed = Instant::now();
                if let Err(error) = self.log.trim(partition, claim.next_offset).await {
                    tracing::warn!(%partition, %error, "old records stay for now");
                }
            }
        }
    }

    async fn claim(&self, partition: PartitionNo) -> Claim {
        let mut wait = RETRY_MIN;
        loop {
            match self.ledger.claim(partition).await {
                Ok(claim) => return claim,
                Err(error) => {
                    tracing::error!(%partition, %error, "waiting for the ledger");
                    back_off(&mut wait).await;
                }
            }
        }
    }

    /// Settles all of a batch, in as many transactions as it takes: one, unless a shard runs dry, the
    /// ledger fails, or a record cannot be stored.
    ///
    /// `dry` are the coupons whose picked shards were found empty: all their shards are locked at once.
    async fn settle_batch(&self, claim: &mut Claim, read: &[Stored], dry: &mut BTreeSet<CouponId>) -> Ended {
        let mut items: Vec<Item> = read.iter().map(|stored| item(claim.partition, stored)).collect();
        let oldest = items.iter().find_map(|item| item.content.as_ref().ok()).map_or_else(now_ms, |a| a.arrived_at_ms);
        self.progress.begin(claim.partition, oldest);
        for (stored, item) in read.iter().zip(&items) {
            if let Err(reason) = &item.content {
                self.bury(claim.partition, stored, reason).await;
            }
        }
        let mut wait = RETRY_MIN;
        let mut start = 0;
        let mut length_max = items.len();
        while start < items.len() {
            let end = items.len().min(start + length_max);
            match self.attempt(*claim, &items[start..end], dry).await {
                Ok(Attempt::Done(verdict)) => {
                    remember_dry(dry, &verdict);
                    start += verdict.decided;
                    if let Some(last) = start.checked_sub(1).filter(|_| verdict.decided > 0) {
                        claim.next_offset = items[last].offset + 1;
                    }
                    wait = RETRY_MIN;
                }
                Ok(Attempt::Fenced) => return Ended::Fenced,
                Ok(Attempt::Elsewhere(next_offset)) => {
                    // Ahead: a commit whose answer was lost did happen. Behind: read again from there.
                    claim.next_offset = next_offset;
                    self.progress.advance(claim.partition, next_offset);
                    match items.iter().position(|item| item.offset >= next_offset) {
                        Some(place) if items[0].offset <= next_offset => start = place,
                        _ => break,
                    }
                }
                Err(LedgerError::Refused { step, source }) if end - start == 1 => {
                    let reason = format!("{step}: {source}");
                    self.bury(claim.partition, &read[start], &reason).await;
                    items[start].content = Err(reason);
                    length_max = items.len();
                }
                Err(LedgerError::Refused { .. }) => length_max = (end - start) / 2,
                Err(error @ LedgerError::Passing { .. }) => {
                    emit(SettlementRetried);
                    tracing::warn!(partition = %claim.partition, %error, "settling the batch again");
                    back_off(&mut wait).await;
                }
            }
        }
        self.progress.finish(claim.partition);
        Ended::Stopped
    }

    async fn attempt(&self, claim: Claim, items: &[Item], dry: &BTreeSet<CouponId>) -> Result<Attempt, LedgerError> {
        let begun = Instant::now();
        let settling = self.campaigns.settling().await;
        let mut transaction = self.ledger.begin().await?;
        let row = transaction.lock_offset(claim.partition).await?;
        if row.epoch != claim.epoch {
            return Ok(Attempt::Fenced);
        }
        if row.next_offset != claim.next_offset {
            return Ok(Attempt::Elsewhere(row.next_offset));
        }
        let facts = read_facts(&mut *transaction, items, dry).await?;
        let verdict = settle(claim.partition, items, facts, now_ms());
        let Some(last) = items[..verdict.decided].last() else { return Ok(Attempt::Done(verdict)) };
        let next_offset = last.offset + 1;
        transaction.take_stock(&verdict.takes).await?;
        if !verdict.settled.is_empty() {
            transaction.insert_outcomes(&verdict.settled).await?;
        }
        transaction.advance(claim, next_offset).await?;
        transaction.commit().await?;

        self.publish(&settling, &verdict).await;
        drop(settling);
        let summary = summary(&verdict, begun.elapsed());
        self.progress.grant(summary.issued);
        emit(summary);
        self.progress.advance(claim.partition, next_offset);
        Ok(Attempt::Done(verdict))
    }

    /// Tells the rest of the gateway what was committed.
    async fn publish(&self, settling: &Settling<'_>, verdict: &Verdict) {
        let rejected: Vec<_> = verdict.settled.iter().filter_map(rejected_subject).collect();
        if !rejected.is_empty()
            && let Err(error) = self.counters.forget(&rejected).await
        {
            tracing::warn!(%error, "rejected users may be counted for longer than they should");
        }
        for take in &verdict.takes {
            let left = verdict.left.get(&take.coupon_id).and_then(|stock| stock.shards.get(&take.shard_no));
            settling.publish(take.coupon_id, take.shard_no, left.copied().unwrap_or(0));
        }
        let mut settled = BTreeMap::new();
        for subject in verdict.settled.iter().filter_map(|settled| settled.subject.as_ref()) {
            *settled.entry((subject.coupon_id, subject.picked_shard)).or_default() += 1;
        }
        for ((coupon, shard), records) in settled {
            settling.settled(coupon, shard, records);
        }
    }

    /// Copies a record that cannot settle to where an operator can look at it, before its row says so: a
    /// crash in between leaves two copies and not none.
    async fn bury(&self, partition: PartitionNo, stored: &Stored, reason: &str) {
        let offset = stored.offset;
        tracing::error!(%partition, offset, reason, "a record cannot settle");
        if let Err(error) = self.log.bury(partition, stored, reason).await {
            tracing::error!(%partition, offset, %error, "a dead letter was not kept");
        }
    }
}

/// Reads what the verdict needs, in the order in which everybody takes locks.
async fn read_facts(
    transaction: &mut dyn Transaction,
    items: &[Item],
    dry: &BTreeSet<CouponId>,
) -> Result<Facts, LedgerError> {
    let names: Vec<RequestId> = items.iter().map(|item| item.request_id).collect();
    let mut facts = Facts { replays: transaction.replays(&names).await?, ..Facts::default() };
    let mut asked: BTreeMap<CouponId, (BTreeSet<_>, BTreeSet<UserId>)> = BTreeMap::new();
    for accepted in items.iter().filter_map(|item| item.content.as_ref().ok()) {
        let (shards, users) = asked.entry(accepted.request.coupon_id).or_default();
        shards.insert(accepted.shard_no);
        users.insert(accepted.request.user_id);
    }
    for (coupon, (shards, users)) in asked {
        let complete = dry.contains(&coupon);
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
        Err(_) => header.unwrap_or_else(|| RequestId::of_place(partition, stored.offset)),
    };
    Item { offset: stored.offset, request_id, content: decoded }
}

/// A coupon stays dry while its picked shards need help, so that its batches lock all shards at once.
fn remember_dry(dry: &mut BTreeSet<CouponId>, verdict: &Verdict) {
    let needed_help = |coupon: &CouponId| {
        verdict.steals.contains_key(coupon)
            || verdict.settled.iter().any(|settled| {
                settled.outcome == Outcome::Rejected(Reason::SoldOut)
                    && settled.subject.as_ref().is_some_and(|subject| subject.coupon_id == *coupon)
            })
    };
    if verdict.decided > 0 {
        dry.retain(needed_help);
    }
    dry.extend(verdict.dry);
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
