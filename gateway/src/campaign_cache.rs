//! The campaigns and their stock, cached so that admission refuses early and the shard picker sees the stock without
//! a query. The ledger decides.
//!
//! Invariant: without other processes, the cached stock is never below the ledger's. Settlements lower the stock, and
//! only [`CampaignCache::change`] raises it. A change waits until every committed settlement has also published its
//! stock. A cached stock of zero is therefore final, and a request may be refused as SOLD_OUT. If other processes
//! share the ledger, [`CampaignCache::is_sold_out`] reads the ledger first.
//!
//! Several sources report at once. A refresh takes a number before it reads; what was reported under a later number is
//! newer, and the refresh leaves it alone.

mod stock_reads;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard as SyncMutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{RwLock, RwLockReadGuard};

use self::stock_reads::StockReads;
use crate::coupon::{Campaign, CampaignChange, ChangeKey, CouponId, NewCampaign, ShardNo};
use crate::ledger::{CampaignError, Ledger, LedgerError};
use crate::telemetry::{ShardGone, StockSeen, Telemetry};

/// All campaigns as this process last saw them.
pub struct CampaignCache {
    ledger: Arc<dyn Ledger>,
    telemetry: Telemetry,
    campaigns: ArcSwap<HashMap<CouponId, Arc<CachedCampaign>>>,
    /// Held shared by each settlement from before its transaction until its stock is published, and exclusively by each
    /// change.
    change_lock: RwLock<()>,
    /// The number of the newest report. Locked while a report is entered.
    reports: SyncMutex<u64>,
    stock_reads: StockReads,
}

/// A campaign as this process last saw it.
pub struct CachedCampaign {
    /// Its terms and state. The current stock is in `shards`.
    pub campaign: Campaign,
    /// Ordered by shard number, never empty.
    pub shards: Vec<CachedShard>,
    /// The number of the newest report of it.
    report: AtomicU64,
}

/// A shard as this process last saw it.
pub struct CachedShard {
    pub shard_no: ShardNo,
    counts: Arc<Counts>,
}

/// Shared by all versions of a shard, so that none misses what is counted while another takes its place.
#[derive(Default)]
struct Counts {
    remaining: AtomicU64,
    /// The number of the report that `remaining` comes from.
    report: AtomicU64,
    unsettled: AtomicU64,
}

impl CachedShard {
    /// The stock after the last settlement that this process saw.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.counts.remaining.load(Ordering::Relaxed)
    }

    /// Requests for this shard that this process accepted and that are not settled yet.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.counts.unsettled.load(Ordering::Relaxed)
    }

    /// Lowers the unsettled count to the lag of the shard's partition. Settlements by other processes reach the count
    /// only this way.
    pub fn bound_unsettled(&self, lag_records: u64) {
        self.counts.unsettled.fetch_min(lag_records, Ordering::Relaxed);
    }

    /// Counts one request as unsettled. Call it before the append: settlement may subtract the record before the append
    /// returns.
    pub fn add_unsettled(&self) -> UnsettledGuard<'_> {
        self.counts.unsettled.fetch_add(1, Ordering::Relaxed);
        UnsettledGuard(Some(&self.counts))
    }

    fn set_remaining(&self, remaining: u64, report: u64) {
        self.counts.remaining.store(remaining, Ordering::Relaxed);
        self.counts.report.store(report, Ordering::Relaxed);
    }
}

impl Counts {
    /// Saturates, because records from before the start of this process were never added.
    fn subtract_unsettled(&self, records: u64) {
        let less = |unsettled: u64| Some(unsettled.saturating_sub(records));
        let _ = self.unsettled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Counts one request as unsettled. Dropped without [`Self::keep`], it subtracts the request again.
pub struct UnsettledGuard<'a>(Option<&'a Counts>);

impl UnsettledGuard<'_> {
    /// The request is in the log: settlement subtracts it.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for UnsettledGuard<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.0 {
            counts.subtract_unsettled(1);
        }
    }
}

impl CachedCampaign {
    fn new(campaign: Campaign, previous: Option<&Self>, report: u64) -> Self {
        let counts =
            |shard_no| previous.and_then(|cached| cached.shard(shard_no)).map(|shard| Arc::clone(&shard.counts));
        let shards = campaign.shards.iter().map(|stock| {
            let shard = CachedShard { shard_no: stock.shard_no, counts: counts(stock.shard_no).unwrap_or_default() };
            shard.set_remaining(stock.remaining, report);
            shard
        });
        Self { shards: shards.collect(), campaign, report: AtomicU64::new(report) }
    }

    #[must_use]
    pub fn shard(&self, shard_no: ShardNo) -> Option<&CachedShard> {
        let index = self.shards.binary_search_by_key(&shard_no, |shard| shard.shard_no).ok()?;
        self.shards.get(index)
    }

    /// The stock of all shards.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.shards.iter().map(CachedShard::remaining).sum()
    }

    /// The campaign with its current stock.
    #[must_use]
    pub fn snapshot(&self) -> Campaign {
        let mut campaign = self.campaign.clone();
        for (stock, shard) in campaign.shards.iter_mut().zip(&self.shards) {
            stock.remaining = shard.remaining();
        }
        campaign
    }
}

impl CampaignCache {
    /// Reads all campaigns from the ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn load(ledger: Arc<dyn Ledger>, telemetry: Telemetry) -> Result<Self, LedgerError> {
        let campaigns = ledger.campaigns().await?;
        let cache = Self {
            ledger,
            telemetry,
            campaigns: ArcSwap::default(),
            change_lock: RwLock::new(()),
            reports: SyncMutex::default(),
            stock_reads: StockReads::default(),
        };
        for campaign in campaigns {
            cache.report(campaign);
        }
        Ok(cache)
    }

    #[must_use]
    pub fn get(&self, coupon: CouponId) -> Option<Arc<CachedCampaign>> {
        self.campaigns.load().get(&coupon).cloned()
    }

    /// All campaigns, ordered by coupon.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<CachedCampaign>> {
        let mut all: Vec<_> = self.campaigns.load().values().cloned().collect();
        all.sort_by_key(|cached| cached.campaign.coupon_id);
        all
    }

    /// Creates a campaign in the ledger. The `bool` is false if the same campaign exists already.
    ///
    /// # Errors
    /// [`CampaignError::Exists`] when the coupon has a campaign with other terms.
    pub async fn create(&self, new: &NewCampaign) -> Result<(Campaign, bool), CampaignError> {
        let _guard = self.change_lock.write().await;
        let is_new = self.ledger.campaign(new.coupon_id).await?.is_none();
        let campaign = self.ledger.create_campaign(new).await?;
        self.report(campaign.clone());
        Ok((campaign, is_new))
    }

    /// Changes a campaign in the ledger.
    ///
    /// # Errors
    /// Those of [`Ledger::change_campaign`].
    pub async fn change(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> Result<Campaign, CampaignError> {
        let _guard = self.change_lock.write().await;
        let campaign = self.ledger.change_campaign(coupon, change, key).await?;
        self.report(campaign.clone());
        Ok(campaign)
    }

    /// Reads all campaigns from the ledger. A top-up by another process is seen only then; until then, the cached stock
    /// is too low.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn refresh(&self) -> Result<(), LedgerError> {
        let _guard = self.change_lock.read().await;
        let begun = *self.lock_reports();
        let read = self.ledger.campaigns().await?;
        let mut reports = self.lock_reports();
        *reports += 1;
        for campaign in read {
            self.enter_read(campaign, begun, *reports);
        }
        Ok(())
    }

    /// Whether a campaign with a cached stock of zero is sold out in the ledger too, as read after this call began.
    /// Concurrent calls for a coupon share one read. If it has stock, the cache has it too afterwards.
    ///
    /// # Errors
    /// When the ledger cannot be read within half a second, and for a second after that.
    pub async fn is_sold_out(&self, coupon: CouponId) -> Result<bool, LedgerError> {
        if !self.ledger.is_shared() {
            return Ok(self.get(coupon).is_none_or(|cached| cached.remaining() == 0));
        }
        self.stock_reads.is_sold_out(coupon, self.read_is_sold_out(coupon)).await
    }

    async fn read_is_sold_out(&self, coupon: CouponId) -> Result<bool, LedgerError> {
        let _guard = self.change_lock.read().await;
        let begun = *self.lock_reports();
        let Some(read) = self.ledger.campaign(coupon).await? else { return Ok(true) };
        // Not the cached stock: a settlement that committed before the read may have reported after it.
        let is_sold_out = read.remaining() == 0;
        let mut reports = self.lock_reports();
        *reports += 1;
        self.enter_read(read, begun, *reports);
        Ok(is_sold_out)
    }

    /// Subtracts settled records from the unsettled count of the shard that was picked for them.
    pub fn subtract_unsettled(&self, coupon_id: CouponId, shard_no: ShardNo, records: u64) {
        if let Some(cached) = self.get(coupon_id)
            && let Some(shard) = cached.shard(shard_no)
        {
            shard.counts.subtract_unsettled(records);
        }
    }

    /// Call it before a settlement's transaction, and hold the guard until the stock is published.
    pub async fn begin_settlement(&self) -> SettlementGuard<'_> {
        SettlementGuard { cache: self, _guard: self.change_lock.read().await }
    }

    /// Enters what a change made of a campaign, or what was read while nothing else could change it.
    fn report(&self, campaign: Campaign) {
        let mut reports = self.lock_reports();
        *reports += 1;
        self.insert(campaign, *reports);
    }

    /// Enters what a refresh read, unless a report after `begun` is newer.
    fn enter_read(&self, mut campaign: Campaign, begun: u64, report: u64) {
        let Some(cached) = self.get(campaign.coupon_id) else { return self.insert(campaign, report) };
        if cached.report.load(Ordering::Relaxed) > begun {
            return;
        }
        for stock in &mut campaign.shards {
            if let Some(shard) = cached.shard(stock.shard_no)
                && shard.counts.report.load(Ordering::Relaxed) > begun
            {
                stock.remaining = shard.remaining();
            }
        }
        if cached.snapshot() == campaign {
            cached.report.store(report, Ordering::Relaxed);
        } else {
            self.insert(campaign, report);
        }
    }

    fn lock_reports(&self) -> SyncMutexGuard<'_, u64> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, campaign: Campaign, report: u64) {
        let coupon_id = campaign.coupon_id;
        let previous = self.get(coupon_id);
        for stock in &campaign.shards {
            self.telemetry.emit(StockSeen { coupon_id, shard_no: stock.shard_no, remaining: stock.remaining });
        }
        let cached = Arc::new(CachedCampaign::new(campaign, previous.as_deref(), report));
        for removed in previous.iter().flat_map(|previous| &previous.shards) {
            if cached.shard(removed.shard_no).is_none() {
                self.telemetry.emit(ShardGone { coupon_id, shard_no: removed.shard_no });
            }
        }
        self.campaigns.rcu(|campaigns| {
            let mut campaigns = HashMap::clone(campaigns);
            campaigns.insert(coupon_id, Arc::clone(&cached));
            campaigns
        });
    }
}

/// A settlement in progress. No campaign changes until it is dropped.
pub struct SettlementGuard<'a> {
    cache: &'a CampaignCache,
    _guard: RwLockReadGuard<'a, ()>,
}

impl SettlementGuard<'_> {
    /// Sets the stock that the settlement left in a shard.
    pub fn set_remaining(&self, coupon_id: CouponId, shard_no: ShardNo, remaining: u64) {
        let mut reports = self.cache.lock_reports();
        *reports += 1;
        self.cache.telemetry.emit(StockSeen { coupon_id, shard_no, remaining });
        if let Some(cached) = self.cache.get(coupon_id)
            && let Some(shard) = cached.shard(shard_no)
        {
            shard.set_remaining(remaining, *reports);
        }
    }
}
