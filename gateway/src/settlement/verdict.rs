//! Decides the outcome of each request of a transaction, from what was read under locks.
//!
//! A pure function, so that property tests check its invariants on thousands of generated batches.

use std::collections::{BTreeMap, BTreeSet};

use crate::coupon::{
    Accepted, CouponId, Offset, Outcome, PartitionNo, Reason, RequestId, Settled, SettledRequest, ShardNo, UnixMs,
};
use crate::ledger::{Grants, LockedStock, StockDecrement};

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub partition: PartitionNo,
    pub offset: Offset,
    pub request_id: RequestId,
    /// The decoded record, or why it cannot be decoded.
    pub content: Result<Accepted, String>,
}

/// What the transaction read under locks before the decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Requests that already have an outcome.
    pub replays: BTreeSet<RequestId>,
    pub grants: Grants,
    /// The campaigns of the requests. An absent entry means that the coupon has no campaign.
    pub stock: BTreeMap<CouponId, LockedStock>,
}

/// The decision for a transaction, ready to be written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// One outcome for each decided request that had none. Those of a partition are in offset order.
    pub settled: Vec<Settled>,
    /// How much stock to subtract from each shard.
    pub takes: Vec<StockDecrement>,
    /// How many coupons came from another shard than the picked one.
    pub steals: BTreeMap<CouponId, u64>,
    /// The number of requests that already had an outcome.
    pub replayed: u64,
    /// How many items of each partition are decided, counted from its first one. Without any, a partition is absent.
    pub decided: BTreeMap<PartitionNo, usize>,
    /// Of each partition that stopped, the coupons whose other shards must be read: the one that stopped it, and others
    /// that would stop it later.
    pub exhausted: BTreeMap<PartitionNo, BTreeSet<CouponId>>,
    /// The locked stock after the decision.
    pub left: BTreeMap<CouponId, LockedStock>,
}

impl Verdict {
    /// How many items of a partition are decided, counted from its first one.
    #[must_use]
    pub fn decided_of(&self, partition: PartitionNo) -> usize {
        self.decided.get(&partition).copied().unwrap_or(0)
    }

    /// The outcomes of a partition, in offset order.
    pub fn settled_of(&self, partition: PartitionNo) -> impl Iterator<Item = &Settled> {
        self.settled.iter().filter(move |settled| settled.partition == partition)
    }
}

/// Decides items of one partition or several, those of each in offset order. A partition stops at its first item that
/// needs shards which were not read; the others go on.
#[must_use]
pub fn settle(items: &[&Item], facts: Facts, settled_at_ms: UnixMs) -> Verdict {
    let Facts { replays: mut seen, mut grants, stock } = facts;
    let mut takes: BTreeMap<(CouponId, ShardNo), u64> = BTreeMap::new();
    let mut verdict = Verdict { left: stock, ..Verdict::default() };

    for (index, item) in items.iter().enumerate() {
        if verdict.exhausted.contains_key(&item.partition) {
            continue;
        }
        if seen.contains(&item.request_id) {
            verdict.replayed += 1;
            *verdict.decided.entry(item.partition).or_default() += 1;
            continue;
        }
        let outcome = match &item.content {
            Err(_) => Outcome::Rejected(Reason::Invalid),
            Ok(accepted) => {
                let coupon = accepted.request.coupon_id;
                match decide(accepted, verdict.left.get(&coupon), &grants) {
                    Decision::Grant { shard, grant_no } => {
                        let stock = verdict.left.get_mut(&coupon).expect("decide read it");
                        *stock.shards.get_mut(&shard).expect("decide read it") -= 1;
                        grants.insert((coupon, accepted.request.user_id), grant_no);
                        *takes.entry((coupon, shard)).or_default() += 1;
                        if shard != accepted.shard_no {
                            *verdict.steals.entry(coupon).or_default() += 1;
                        }
                        Outcome::Issued { shard, grant_no }
                    }
                    Decision::Reject(reason) => Outcome::Rejected(reason),
                    Decision::ReadAllShards => {
                        let undecided = items[index..].iter().filter(|later| later.partition == item.partition);
                        verdict.exhausted.insert(item.partition, exhausted(undecided, &verdict.left));
                        continue;
                    }
                }
            }
        };
        seen.insert(item.request_id);
        *verdict.decided.entry(item.partition).or_default() += 1;
        verdict.settled.push(Settled {
            request_id: item.request_id,
            subject: item.content.as_ref().ok().map(subject),
            outcome,
            partition: item.partition,
            offset: item.offset,
            settled_at_ms,
        });
    }
    let decrement = |((coupon_id, shard_no), records)| StockDecrement { coupon_id, shard_no, records };
    verdict.takes = takes.into_iter().map(decrement).collect();
    verdict
}

enum Decision {
    Grant {
        shard: ShardNo,
        grant_no: u32,
    },
    Reject(Reason),
    /// The picked shard is empty, and the other shards were not read.
    ReadAllShards,
}

fn decide(accepted: &Accepted, stock: Option<&LockedStock>, grants: &Grants) -> Decision {
    let Some(stock) = stock else { return Decision::Reject(Reason::Invalid) };
    let granted = grants.get(&(accepted.request.coupon_id, accepted.request.user_id)).copied().unwrap_or(0);
    if granted >= stock.per_user_limit {
        return Decision::Reject(Reason::UserLimit);
    }
    let grant_no = granted + 1;
    let picked = accepted.shard_no;
    if stock.shards.get(&picked).is_some_and(|remaining| *remaining > 0) {
        return Decision::Grant { shard: picked, grant_no };
    }
    if !stock.complete {
        return Decision::ReadAllShards;
    }
    match stock.shards.iter().max_by_key(|(_, remaining)| **remaining) {
        Some((shard, remaining)) if *remaining > 0 => Decision::Grant { shard: *shard, grant_no },
        _ => Decision::Reject(Reason::SoldOut),
    }
}

/// All of them at once: many coupons that sell out together would otherwise cost a transaction each.
fn exhausted<'a>(
    undecided: impl Iterator<Item = &'a &'a Item>,
    left: &BTreeMap<CouponId, LockedStock>,
) -> BTreeSet<CouponId> {
    let is_empty = |accepted: &&Accepted| {
        let stock = left.get(&accepted.request.coupon_id).filter(|stock| !stock.complete);
        stock.is_some_and(|stock| stock.shards.get(&accepted.shard_no).is_none_or(|remaining| *remaining == 0))
    };
    let accepted = undecided.filter_map(|item| item.content.as_ref().ok());
    accepted.filter(is_empty).map(|accepted| accepted.request.coupon_id).collect()
}

fn subject(accepted: &Accepted) -> SettledRequest {
    SettledRequest {
        coupon_id: accepted.request.coupon_id,
        user_id: accepted.request.user_id,
        picked_shard: accepted.shard_no,
        generation: accepted.generation,
        arm: accepted.arm,
        fingerprint: accepted.fingerprint,
        arrived_at_ms: accepted.arrived_at_ms,
        terms: accepted.request.terms.clone(),
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
