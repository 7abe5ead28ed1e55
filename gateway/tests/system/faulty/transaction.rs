//! A settlement that fails when a test tells it to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use sluice::coupon::{CouponId, PartitionNo, RequestId, Settled, UserId};
use sluice::ledger::{Claim, Grants, LedgerError, LockedStock, PartitionOffset, Shards, StockDecrement, Transaction};

use super::{LedgerFaults, gone};

pub(super) struct FaultyTransaction {
    pub(super) inner: Box<dyn Transaction>,
    pub(super) faults: Arc<LedgerFaults>,
}

impl Transaction for FaultyTransaction {
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<PartitionOffset, LedgerError>> {
        self.inner.lock_offset(partition)
    }

    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        self.inner.replays(requests)
    }

    fn lock_stock<'a>(
        &'a mut self,
        wanted: &'a BTreeMap<CouponId, Shards>,
    ) -> BoxFuture<'a, Result<BTreeMap<CouponId, LockedStock>, LedgerError>> {
        self.faults.fact_reads.fetch_add(1, Ordering::Relaxed);
        self.inner.lock_stock(wanted)
    }

    fn grants<'a>(&'a mut self, holders: &'a [(CouponId, UserId)]) -> BoxFuture<'a, Result<Grants, LedgerError>> {
        self.faults.fact_reads.fetch_add(1, Ordering::Relaxed);
        self.inner.grants(holders)
    }

    fn take_stock<'a>(&'a mut self, decrements: &'a [StockDecrement]) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.inner.take_stock(decrements)
    }

    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>> {
        let poison = self.faults.poison_user.load(Ordering::Relaxed);
        let is_poisoned =
            |settled: &Settled| settled.subject.as_ref().is_some_and(|subject| subject.user_id.get() == poison);
        if settled.iter().any(is_poisoned) {
            let refused = LedgerError::Permanent { step: "insert outcomes", source: "a value does not fit".into() };
            return Box::pin(std::future::ready(Err(refused)));
        }
        self.inner.insert_outcomes(settled)
    }

    fn advance(&mut self, from: Claim, to: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.advance(from, to)
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>> {
        let left = |left: u32| left.checked_sub(1);
        if self.faults.commits_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Box::pin(std::future::ready(Err(gone())));
        }
        if self.faults.commit_answers_lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Box::pin(async move {
                self.inner.commit().await?;
                Err(gone())
            });
        }
        self.inner.commit()
    }
}
