//! A ledger that fails when a test tells it to, and otherwise passes everything on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sluice::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, LogId, NewCampaign, Offset, PartitionNo,
    RequestId, Settled, ShardStock, UnixMs, UserId,
};
use sluice::ledger::{
    CampaignChanges, CampaignError, Claim, Deletion, GenerationRow, Grants, Ledger, LedgerError, ListedOutcome,
    LockedStock, LogIdentity, OffsetChange, PartitionOffset, PolicyVersion, RecordedOutcome, Shards, StockDecrement,
    Transaction,
};
use tokio::sync::watch;

/// What a [`FaultyLedger`] does wrong.
#[derive(Default)]
pub(crate) struct LedgerFaults {
    /// Settlements panic.
    pub(crate) settlement_panics: AtomicBool,
    /// Reading the partitions' offsets panics, as the ledger poller does.
    pub(crate) next_offsets_panic: AtomicBool,
    /// Partitions cannot be claimed, as if the database were gone.
    pub(crate) claims_fail: AtomicBool,
    /// This many settlements fail at their commit, as if the database were gone.
    pub(crate) commits_fail: AtomicU32,
    /// This many settlements commit, but their answer is lost.
    pub(crate) commit_answers_lost: AtomicU32,
    /// The outcomes of this user are refused for good, as if a value did not fit its column.
    pub(crate) poison_user: AtomicU64,
    /// How many settlements have begun.
    pub(crate) settlements: AtomicU32,
    /// How often settlements have locked stock and read grants.
    pub(crate) fact_reads: AtomicU32,
    /// How often the offsets of all partitions were read, as the ledger poller does.
    pub(crate) offset_reads: AtomicU32,
    /// Pretends that other processes use the ledger too.
    pub(crate) is_shared: AtomicBool,
    /// Reads and settlements fail, as if the server refused connections.
    pub(crate) is_down: AtomicBool,
    /// Reads and settlements are answered only when this ends, as if the server were suspended.
    pub(crate) is_suspended: AtomicBool,
    /// Until its sender is dropped, reads of stock and changes of campaigns are done but not answered.
    gate: Mutex<Option<watch::Receiver<()>>>,
    held_answers: AtomicU32,
}

impl LedgerFaults {
    /// Holds the answers about campaigns until the returned value is dropped.
    pub(crate) fn hold_answers(&self) -> watch::Sender<()> {
        let (sender, receiver) = watch::channel(());
        *self.gate.lock().expect("not poisoned") = Some(receiver);
        sender
    }

    /// Further answers are not held.
    pub(crate) fn answer_at_once(&self) {
        *self.gate.lock().expect("not poisoned") = None;
    }

    pub(crate) fn has_held_answer(&self) -> bool {
        self.held_answers.load(Ordering::Relaxed) > 0
    }

    async fn reach(&self) -> Result<(), LedgerError> {
        while self.is_suspended.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.is_down.load(Ordering::Relaxed) { Err(gone()) } else { Ok(()) }
    }

    async fn pass_gate(&self) {
        let gate = self.gate.lock().expect("not poisoned").clone();
        if let Some(mut gate) = gate {
            self.held_answers.fetch_add(1, Ordering::Relaxed);
            // An error says that the sender was dropped, which opens the gate.
            let _ = gate.changed().await;
        }
    }
}

pub(crate) struct FaultyLedger {
    inner: Arc<dyn Ledger>,
    faults: Arc<LedgerFaults>,
}

impl FaultyLedger {
    pub(crate) fn wrap(inner: Arc<dyn Ledger>, faults: &Arc<LedgerFaults>) -> Arc<dyn Ledger> {
        Arc::new(Self { inner, faults: Arc::clone(faults) })
    }
}

impl Ledger for FaultyLedger {
    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        self.inner.create_campaign(new)
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.campaign(coupon).await
        })
    }

    fn campaigns(&self) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(async {
            self.faults.reach().await?;
            self.inner.campaigns().await
        })
    }

    fn campaign_changes(&self, after_version: u64) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.campaign_changes(after_version).await
        })
    }

    fn stock<'a>(
        &'a self,
        coupons: &'a [CouponId],
    ) -> BoxFuture<'a, Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError>> {
        Box::pin(async {
            self.faults.reach().await?;
            let stock = self.inner.stock(coupons).await;
            self.faults.pass_gate().await;
            stock
        })
    }

    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>> {
        Box::pin(async move {
            let changed = self.inner.change_campaign(coupon, change, key).await;
            self.faults.pass_gate().await;
            changed
        })
    }

    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        self.inner.audit(coupon)
    }

    fn recount(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        self.inner.recount(coupon)
    }

    fn outcome(&self, request: RequestId) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.outcome(request).await
        })
    }

    fn outcome_under_key(
        &self,
        request: RequestId,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.outcome_under_key(request, fingerprint).await
        })
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.next_offset(partition).await
        })
    }

    fn next_offsets(&self) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>> {
        assert!(!self.faults.next_offsets_panic.load(Ordering::Relaxed), "the ledger is cursed");
        self.faults.offset_reads.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            self.faults.reach().await?;
            self.inner.next_offsets().await
        })
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        if self.faults.claims_fail.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(gone())));
        }
        self.inner.claim(partition)
    }

    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.store_released(claim)
    }

    fn rejections<'a>(&'a self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        self.inner.rejections(requests)
    }

    fn log_identity(&self) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>> {
        self.inner.log_identity()
    }

    fn propose_log(&self, log_id: LogId) -> BoxFuture<'_, Result<LogId, LedgerError>> {
        self.inner.propose_log(log_id)
    }

    fn see_log(&self, log_id: LogId, now_ms: UnixMs) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.see_log(log_id, now_ms)
    }

    fn adopt_log<'a>(
        &'a self,
        log_id: LogId,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.inner.adopt_log(log_id, next_offsets, now_ms)
    }

    fn skip(
        &self,
        partition: PartitionNo,
        from: Offset,
        to: Offset,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        self.inner.skip(partition, from, to, now_ms)
    }

    fn offset_changes(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>> {
        self.inner.offset_changes(rows_max)
    }

    fn outcomes<'a>(
        &'a self,
        coupon: CouponId,
        last: Option<&'a ListedOutcome>,
        rows_max: u32,
    ) -> BoxFuture<'a, Result<Vec<ListedOutcome>, LedgerError>> {
        self.inner.outcomes(coupon, last, rows_max)
    }

    fn expired_campaigns(
        &self,
        deletion: Deletion,
        closed_before_ms: UnixMs,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<CouponId>, LedgerError>> {
        self.inner.expired_campaigns(deletion, closed_before_ms, rows_max)
    }

    fn delete_outcomes<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a BTreeSet<RequestId>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.inner.delete_outcomes(coupon, requests)
    }

    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.record_deletion(coupon, deletion)
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        assert!(!self.faults.settlement_panics.load(Ordering::Relaxed), "the ledger is cursed");
        self.faults.settlements.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            self.faults.reach().await?;
            let inner = self.inner.begin().await?;
            Ok(Box::new(FaultyTransaction { inner, faults: Arc::clone(&self.faults) }) as Box<dyn Transaction>)
        })
    }

    fn generations(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        self.inner.generations(rows_max)
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.inner.publish_generation(row, components)
    }

    fn register_policy<'a>(
        &'a self,
        version: &'a PolicyVersion,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.inner.register_policy(version, bytes)
    }

    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<PolicyVersion>, LedgerError>> {
        self.inner.policy_versions()
    }

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LedgerError>> {
        self.inner.component(digest)
    }

    fn is_shared(&self) -> bool {
        self.faults.is_shared.load(Ordering::Relaxed) || self.inner.is_shared()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async {
            self.faults.reach().await?;
            self.inner.ready().await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

struct FaultyTransaction {
    inner: Box<dyn Transaction>,
    faults: Arc<LedgerFaults>,
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

fn gone() -> LedgerError {
    LedgerError::Transient { step: "reach the ledger", source: "the database is gone".into() }
}
