//! Which shards a batch reads.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Item, Verdict};
use crate::coupon::{Accepted, CouponId, Outcome, Reason};
use crate::ledger::Shards;

/// Coupons of which a picked shard was found empty. All their shards are read at once, which saves the second
/// transaction of every batch.
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

    /// A coupon stays exhausted while its picked shards need help, so that its batches read all shards at once.
    pub fn remember(&mut self, verdict: &Verdict) {
        let needed_help = |coupon: &CouponId| {
            verdict.steals.contains_key(coupon)
                || verdict.settled.iter().any(|settled| {
                    settled.outcome == Outcome::Rejected(Reason::SoldOut)
                        && settled.subject.as_ref().is_some_and(|subject| subject.coupon_id == *coupon)
                })
        };
        if verdict.decided > 0 {
            self.0.retain(needed_help);
        }
        self.0.extend(verdict.exhausted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coupon_is_read_with_all_its_shards_until_a_batch_needs_no_help() {
        let coupon = CouponId::try_from(7_u64).expect("positive");
        let mut exhausted = Exhausted::default();
        exhausted.remember(&Verdict { exhausted: Some(coupon), ..Verdict::default() });
        assert!(exhausted.0.contains(&coupon), "its picked shard is empty");
        exhausted.remember(&Verdict { decided: 1, steals: [(coupon, 1)].into(), ..Verdict::default() });
        assert!(exhausted.0.contains(&coupon), "other shards helped");
        exhausted.remember(&Verdict { decided: 1, ..Verdict::default() });
        assert!(exhausted.0.is_empty());
    }
}
