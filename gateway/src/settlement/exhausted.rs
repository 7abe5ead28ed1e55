//! Which shards a transaction reads.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Item, Verdict};
use crate::coupon::{Accepted, CouponId, Outcome, PartitionNo, Reason};
use crate::ledger::Shards;

/// What is remembered of coupons without further requests stays until then. A coupon that is forgotten is found out again
/// at the cost of one transaction.
const COUPONS_MAX: usize = 10_000;

/// Coupons of which a picked shard was found empty, as one partition knows them. All their shards are read at once, which
/// saves the second transaction of every batch.
#[derive(Debug, Default)]
pub struct Exhausted(BTreeSet<CouponId>);

impl Exhausted {
    /// The shards that the verdict on these items needs.
    #[must_use]
    pub fn wanted(&self, items: &[Item]) -> BTreeMap<CouponId, Shards> {
        let mut wanted: BTreeMap<CouponId, Shards> = BTreeMap::new();
        for Accepted { shard_no, request, .. } in items.iter().filter_map(|item| item.content.as_ref().ok()) {
            let shards = wanted.entry(request.coupon_id).or_insert_with(|| {
                if self.0.contains(&request.coupon_id) { Shards::All } else { Shards::Some(BTreeSet::new()) }
            });
            if let Shards::Some(picked) = shards {
                picked.insert(*shard_no);
            }
        }
        wanted
    }

    /// Forgets the coupons that this verdict decided without help for this partition, and adds those that it could not
    /// decide. Other coupons stay: a batch without their records says nothing about them.
    pub fn remember(&mut self, verdict: &Verdict, partition: PartitionNo) {
        let mut needed_help = BTreeMap::new();
        for settled in verdict.settled_of(partition) {
            let Some(subject) = &settled.subject else { continue };
            let is_sold_out = settled.outcome == Outcome::Rejected(Reason::SoldOut);
            let is_stolen = matches!(settled.outcome, Outcome::Issued { shard, .. } if shard != subject.picked_shard);
            *needed_help.entry(subject.coupon_id).or_insert(false) |= is_sold_out || is_stolen;
        }
        self.0.retain(|coupon| needed_help.get(coupon).copied().unwrap_or(true));
        let Some(exhausted) = verdict.exhausted.get(&partition) else { return };
        if self.0.len() + exhausted.len() > COUPONS_MAX {
            self.0.clear();
        }
        self.0.extend(exhausted);
    }
}

/// The shards that the verdict on the items of several partitions needs.
#[must_use]
pub fn union(wanted: impl IntoIterator<Item = BTreeMap<CouponId, Shards>>) -> BTreeMap<CouponId, Shards> {
    let mut all: BTreeMap<CouponId, Shards> = BTreeMap::new();
    for (coupon, shards) in wanted.into_iter().flatten() {
        all.entry(coupon).or_insert_with(|| Shards::Some(BTreeSet::new())).add(shards);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coupon::{Settled, SettledRequest, ShardNo};
    use crate::ledger::contract::{PARTITION, settled};

    fn coupon(id: u64) -> CouponId {
        CouponId::try_from(id).expect("positive")
    }

    /// One request that picked shard 0.
    fn issued(coupon_id: CouponId, shard: u32) -> Verdict {
        let outcome = Outcome::Issued { shard: ShardNo(shard), grant_no: 1 };
        let settled = settled(1, 1, outcome);
        let subject = settled.subject.map(|subject| SettledRequest { coupon_id, picked_shard: ShardNo(0), ..subject });
        Verdict { settled: vec![Settled { subject, ..settled }], ..Verdict::default() }
    }

    #[test]
    fn a_coupon_is_read_with_all_its_shards_until_a_batch_needs_no_help() {
        let mut exhausted = Exhausted::default();
        let other = PartitionNo(PARTITION.0 + 1);
        let stopped = BTreeMap::from([(PARTITION, [coupon(7)].into()), (other, [coupon(9)].into())]);
        exhausted.remember(&Verdict { exhausted: stopped, ..Verdict::default() }, PARTITION);
        assert_eq!(exhausted.0, [coupon(7)].into(), "its picked shard is empty");
        exhausted.remember(&issued(coupon(7), 1), PARTITION);
        assert!(exhausted.0.contains(&coupon(7)), "another shard helped");
        exhausted.remember(&issued(coupon(8), 0), PARTITION);
        assert!(exhausted.0.contains(&coupon(7)), "the batch had no record of it");
        exhausted.remember(&issued(coupon(7), 0), other);
        assert!(exhausted.0.contains(&coupon(7)), "another partition needed no help");
        exhausted.remember(&issued(coupon(7), 0), PARTITION);
        assert!(exhausted.0.is_empty());
    }

    #[test]
    fn a_transaction_reads_the_shards_that_its_partitions_need() {
        let some = |shards: &[u32]| Shards::Some(shards.iter().copied().map(ShardNo).collect());
        let one = BTreeMap::from([(coupon(7), some(&[0, 1])), (coupon(8), some(&[0])), (coupon(9), Shards::All)]);
        let other = BTreeMap::from([(coupon(7), some(&[1, 2])), (coupon(8), Shards::All), (coupon(9), some(&[0]))]);
        let all = [(coupon(7), some(&[0, 1, 2])), (coupon(8), Shards::All), (coupon(9), Shards::All)];
        assert_eq!(union([one, other]), all.into());
    }
}
