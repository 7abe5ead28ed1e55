//! The decision: given what was read under locks, how does each request of a batch end?
//!
//! Pure, so that its promises can be tested with made-up batches by the thousand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::coupon::{
    Accepted, CouponId, Offset, Outcome, PartitionNo, Reason, RequestId, Settled, SettledRequest, ShardNo, UnixMs,
    UserId,
};
use crate::ledger::StockDecrement;

/// A record of the log as settlement sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its name.
    pub request_id: RequestId,
    /// What it asks for; or why it cannot be read.
    pub content: Result<Accepted, String>,
}

/// What was read under locks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Requests of the batch that have an outcome already.
    pub replays: BTreeSet<RequestId>,
    /// How many of the coupon each user holds; absent means none.
    pub grants: HashMap<(CouponId, UserId), u32>,
    /// The campaigns of the batch; one that does not exist is absent.
    pub stock: BTreeMap<CouponId, Stock>,
}

/// What was read of one campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Stock {
    /// How many one user may hold.
    pub per_user_limit: u32,
    /// What is left, of the shards that were locked.
    pub shards: BTreeMap<ShardNo, u64>,
    /// Whether those are all shards of the coupon. Only then may stock be taken from another shard,
    /// and SOLD_OUT be said.
    pub complete: bool,
}

/// How a batch ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// One row for each request that has no outcome yet, in offset order.
    pub settled: Vec<Settled>,
    /// What is taken from each shard.
    pub takes: Vec<StockDecrement>,
    /// Coupons taken from a shard other than the one picked.
    pub steals: BTreeMap<CouponId, u64>,
    /// Requests that had an outcome already.
    pub replayed: u64,
    /// How many items from the front are decided.
    pub decided: usize,
    /// The coupon whose other shards must be locked to decide the item after those.
    pub exhausted: Option<CouponId>,
    /// The stock that is left of what was read.
    pub left: BTreeMap<CouponId, Stock>,
}

/// Decides a batch in offset order, as far as the locked shards allow.
#[must_use]
pub fn settle(partition: PartitionNo, items: &[Item], facts: Facts, settled_at_ms: UnixMs) -> Verdict {
    let Facts { replays: mut seen, mut grants, stock } = facts;
    let mut takes: BTreeMap<(CouponId, ShardNo), u64> = BTreeMap::new();
    let mut verdict = Verdict { left: stock, ..Verdict::default() };

    for item in items {
        if seen.contains(&item.request_id) {
            verdict.replayed += 1;
            verdict.decided += 1;
            continue;
        }
        let outcome = match &item.content {
            Err(_) => Outcome::Rejected(Reason::Invalid),
            Ok(accepted) => {
                let coupon = accepted.request.coupon_id;
                match decide(accepted, verdict.left.get(&coupon), &grants) {
                    Decision::Give { shard, grant_no } => {
                        let stock = verdict.left.get_mut(&coupon).expect("decide saw it");
                        *stock.shards.get_mut(&shard).expect("decide saw it") -= 1;
                        grants.insert((coupon, accepted.request.user_id), grant_no);
                        *takes.entry((coupon, shard)).or_default() += 1;
                        if shard != accepted.shard_no {
                            *verdict.steals.entry(coupon).or_default() += 1;
                        }
                        Outcome::Issued { shard, grant_no }
                    }
                    Decision::Reject(reason) => Outcome::Rejected(reason),
                    Decision::LookFurther => {
                        verdict.exhausted = Some(coupon);
                        break;
                    }
                }
            }
        };
        seen.insert(item.request_id);
        verdict.decided += 1;
        verdict.settled.push(Settled {
            request_id: item.request_id,
            subject: item.content.as_ref().ok().map(subject),
            outcome,
            partition,
            offset: item.offset,
            settled_at_ms,
        });
    }
    let decrement = |((coupon_id, shard_no), records)| StockDecrement { coupon_id, shard_no, records };
    verdict.takes = takes.into_iter().map(decrement).collect();
    verdict
}

enum Decision {
    Give {
        shard: ShardNo,
        grant_no: u32,
    },
    Reject(Reason),
    /// The picked shard is empty, and the others are not locked.
    LookFurther,
}

fn decide(accepted: &Accepted, stock: Option<&Stock>, grants: &HashMap<(CouponId, UserId), u32>) -> Decision {
    let Some(stock) = stock else { return Decision::Reject(Reason::Invalid) };
    let holds = grants.get(&(accepted.request.coupon_id, accepted.request.user_id)).copied().unwrap_or(0);
    if holds >= stock.per_user_limit {
        return Decision::Reject(Reason::UserLimit);
    }
    let grant_no = holds + 1;
    let picked = accepted.shard_no;
    if stock.shards.get(&picked).is_some_and(|remaining| *remaining > 0) {
        return Decision::Give { shard: picked, grant_no };
    }
    if !stock.complete {
        return Decision::LookFurther;
    }
    match stock.shards.iter().max_by_key(|(_, remaining)| **remaining) {
        Some((shard, remaining)) if *remaining > 0 => Decision::Give { shard: *shard, grant_no },
        _ => Decision::Reject(Reason::SoldOut),
    }
}

fn subject(accepted: &Accepted) -> SettledRequest {
    SettledRequest {
        coupon_id: accepted.request.coupon_id,
        user_id: accepted.request.user_id,
        picked_shard: accepted.shard_no,
        generation: accepted.generation,
        fingerprint: accepted.fingerprint,
        arrived_at_ms: accepted.arrived_at_ms,
        terms: accepted.request.terms.clone(),
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
