//! A ledger that fails when a test tells it to, and otherwise passes everything on.

mod rollouts;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sluice::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, GenerationNo, GroupNo, LogId, NewCampaign,
    Offset, PartitionNo, RequestId, ShardStock, Terms, UnixMs,
};
use sluice::ledger::{
    CampaignChanges, CampaignError, Claim, Deletion, GenerationRow, Ledger, LedgerError, ListedOutcome, LogIdentity,
    OffsetChange, OpenError, Place, PolicyVersion, RecordedOutcome, RolloutTable, StoredComponent, Transaction,
};
use tokio::sync::watch;

use self::transaction::FaultyTransaction;

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
    /// The outcomes of this coupon are not deleted, as if their rows were damaged.
    pub(crate) undeletable_coupon: AtomicU64,
    /// Rows of each call that deletes outcomes.
    pub(crate) deletions: Mutex<Vec<usize>>,
    /// Settlements that have begun read and write nothing until this ends.
    pub(crate) settlements_are_held: AtomicBool,
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
    /// Rollouts and reports on them are not written, as if the disk were full.
    pub(crate) is_read_only: AtomicBool,
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

    async fn reach_to_write(&self) -> Result<(), LedgerError> {
        self.reach().await?;
        if self.is_read_only.load(Ordering::Relaxed) { Err(gone()) } else { Ok(()) }
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
    fn groups(&self) -> u32 {
        self.inner.groups()
    }

    fn join(&self, group: GroupNo) -> BoxFuture<'_, Result<(), OpenError>> {
        self.inner.join(group)
    }

    fn group_of(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<GroupNo>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.group_of(coupon).await
        })
    }

    fn assign_group(&self, coupon: CouponId, group: GroupNo) -> BoxFuture<'_, Result<GroupNo, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.assign_group(coupon, group).await
        })
    }

    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, LedgerError>> {
        self.inner.place()
    }

    fn store_place(&self, place: Place) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.store_place(place)
    }

    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.create_campaign(new).await
        })
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.campaign(coupon).await
        })
    }

    fn campaigns(&self, group: GroupNo) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.campaigns(group).await
        })
    }

    fn campaign_changes(
        &self,
        group: GroupNo,
        after_version: u64,
    ) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.campaign_changes(group, after_version).await
        })
    }

    fn stock<'a>(
        &'a self,
        group: GroupNo,
        coupons: &'a [CouponId],
    ) -> BoxFuture<'a, Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            let stock = self.inner.stock(group, coupons).await;
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
            self.faults.reach().await?;
            let changed = self.inner.change_campaign(coupon, change, key).await;
            self.faults.pass_gate().await;
            changed
        })
    }

    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.audit(coupon).await
        })
    }

    fn recount(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        self.inner.recount(coupon)
    }

    fn outcome(
        &self,
        group: GroupNo,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.outcome(group, request).await
        })
    }

    fn outcome_under_key(
        &self,
        group: GroupNo,
        request: RequestId,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.outcome_under_key(group, request, fingerprint).await
        })
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.next_offset(partition).await
        })
    }

    fn next_offsets(&self, group: GroupNo) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>> {
        assert!(!self.faults.next_offsets_panic.load(Ordering::Relaxed), "the ledger is cursed");
        self.faults.offset_reads.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.next_offsets(group).await
        })
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        if self.faults.claims_fail.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(gone())));
        }
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.claim(partition).await
        })
    }

    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.store_released(claim)
    }

    fn rejections<'a>(
        &'a self,
        partition: PartitionNo,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        self.inner.rejections(partition, requests)
    }

    fn log_identity(&self, group: GroupNo) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>> {
        self.inner.log_identity(group)
    }

    fn propose_log(&self, log_id: LogId) -> BoxFuture<'_, Result<LogId, LedgerError>> {
        self.inner.propose_log(log_id)
    }

    fn see_log(&self, log_id: LogId, now_ms: UnixMs) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.see_log(log_id, now_ms)
    }

    fn adopt_log<'a>(
        &'a self,
        group: GroupNo,
        log_id: LogId,
        first: PartitionNo,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.inner.adopt_log(group, log_id, first, next_offsets, now_ms)
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

    fn offset_changes(&self, group: GroupNo, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>> {
        self.inner.offset_changes(group, rows_max)
    }

    fn outcomes<'a>(
        &'a self,
        coupon: CouponId,
        last: Option<&'a ListedOutcome>,
        rows_max: u32,
    ) -> BoxFuture<'a, Result<Vec<ListedOutcome>, LedgerError>> {
        self.inner.outcomes(coupon, last, rows_max)
    }

    fn terms<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeMap<RequestId, Terms>, LedgerError>> {
        self.inner.terms(coupon, requests)
    }

    fn outcomes_deleted(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<bool>, LedgerError>> {
        self.inner.outcomes_deleted(coupon)
    }

    fn expired_campaigns(
        &self,
        group: GroupNo,
        deletion: Deletion,
        closed_before_ms: UnixMs,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<CouponId>, LedgerError>> {
        self.inner.expired_campaigns(group, deletion, closed_before_ms, rows_max)
    }

    fn delete_outcomes<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a BTreeSet<RequestId>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        if self.faults.undeletable_coupon.load(Ordering::Relaxed) == coupon.get() {
            let damaged = LedgerError::Permanent { step: "delete outcomes", source: "a row is damaged".into() };
            return Box::pin(std::future::ready(Err(damaged)));
        }
        self.faults.deletions.lock().expect("no panic").push(requests.len());
        self.inner.delete_outcomes(coupon, requests)
    }

    fn delete_terms(&self, coupon: CouponId, rows_max: u32) -> BoxFuture<'_, Result<u64, LedgerError>> {
        self.inner.delete_terms(coupon, rows_max)
    }

    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.record_deletion(coupon, deletion)
    }

    fn begin(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        assert!(!self.faults.settlement_panics.load(Ordering::Relaxed), "the ledger is cursed");
        self.faults.settlements.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            while self.faults.settlements_are_held.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.faults.reach().await?;
            let inner = self.inner.begin(partition).await?;
            Ok(Box::new(FaultyTransaction { inner, faults: Arc::clone(&self.faults) }) as Box<dyn Transaction>)
        })
    }

    fn generations(
        &self,
        coupon: Option<CouponId>,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        self.inner.generations(coupon, rows_max)
    }

    fn newest_generations(
        &self,
        after: GenerationNo,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        self.inner.newest_generations(after, rows_max)
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.inner.publish_generation(row, components)
    }

    fn end_pipeline(&self, coupon: CouponId) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.end_pipeline(coupon)
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

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<StoredComponent>, LedgerError>> {
        self.inner.component(digest)
    }

    fn rollouts(&self) -> &dyn RolloutTable {
        self
    }

    fn is_shared(&self) -> bool {
        self.faults.is_shared.load(Ordering::Relaxed) || self.inner.is_shared()
    }

    fn ready(&self, group: GroupNo) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.ready(group).await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

fn gone() -> LedgerError {
    LedgerError::Transient { step: "reach the ledger", source: "the database is gone".into() }
}
