//! The campaigns and their stock, cached so that admission refuses early and the shard picker sees the stock without
//! a query. The ledger decides.
//!
//! Invariant: without other processes, the cached stock is never below the ledger's. Settlements lower the stock, and
//! only [`CampaignCache::change`] raises it. A change waits until every committed settlement has also published its
//! stock. A cached stock of zero is therefore final, and a request may be refused as SOLD_OUT. If other processes
//! share the ledger, [`CampaignCache::is_sold_out`] reads the ledger first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::coupon::{Campaign, CampaignChange, CouponId, NewCampaign, ShardNo};
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
    /// When the last refresh of [`CampaignCache::is_sold_out`] began.
    refreshed_at: Mutex<Option<Instant>>,
}

/// A campaign as this process last saw it.
pub struct CachedCampaign {
    /// Its terms and state. The current stock is in `shards`.
    pub campaign: Campaign,
    /// Ordered by shard number, never empty.
    pub shards: Vec<CachedShard>,
}

/// A shard as this process last saw it.
pub struct CachedShard {
    pub shard_no: ShardNo,
    remaining: AtomicU64,
    unsettled: AtomicU64,
}

impl CachedShard {
    /// The stock after the last settlement that this process saw.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining.load(Ordering::Relaxed)
    }

    /// Requests for this shard that this process accepted and that are not settled yet.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// Lowers the unsettled count to the lag of the shard's partition. Settlements by other processes reach the count
    /// only this way.
    pub fn bound_unsettled(&self, lag_records: u64) {
        self.unsettled.fetch_min(lag_records, Ordering::Relaxed);
    }

    /// Counts one request as unsettled. Call it before the append: settlement may subtract the record before the append
    /// returns.
    pub fn add_unsettled(&self) -> UnsettledGuard<'_> {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        UnsettledGuard(Some(&self.unsettled))
    }
}

/// Counts one request as unsettled. Dropped without [`Self::keep`], it subtracts the request again.
pub struct UnsettledGuard<'a>(Option<&'a AtomicU64>);

impl UnsettledGuard<'_> {
    /// The request is in the log: settlement subtracts it.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for UnsettledGuard<'_> {
    fn drop(&mut self) {
        if let Some(unsettled) = self.0 {
            subtract(unsettled, 1);
        }
    }
}

/// Saturates, because records from before the start of this process were never added.
fn subtract(unsettled: &AtomicU64, records: u64) {
    let less = |unsettled: u64| Some(unsettled.saturating_sub(records));
    let _ = unsettled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

impl CachedCampaign {
    fn new(campaign: Campaign, previous: Option<&Self>) -> Self {
        let unsettled = |shard_no| previous.and_then(|cached| cached.shard(shard_no)).map_or(0, CachedShard::unsettled);
        let shards = campaign
            .shards
            .iter()
            .map(|stock| CachedShard {
                shard_no: stock.shard_no,
                remaining: AtomicU64::new(stock.remaining),
                unsettled: AtomicU64::new(unsettled(stock.shard_no)),
            })
            .collect();
        Self { campaign, shards }
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
            refreshed_at: Mutex::default(),
        };
        for campaign in campaigns {
            cache.insert(campaign);
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
        self.insert(campaign.clone());
        Ok((campaign, is_new))
    }

    /// Changes a campaign in the ledger.
    ///
    /// # Errors
    /// Those of [`Ledger::change_campaign`].
    pub async fn change(&self, coupon: CouponId, change: CampaignChange) -> Result<Campaign, CampaignError> {
        let _guard = self.change_lock.write().await;
        let campaign = self.ledger.change_campaign(coupon, change).await?;
        self.insert(campaign.clone());
        Ok(campaign)
    }

    /// Reads all campaigns from the ledger. A top-up by another process is seen only then; until then, the cached stock
    /// is too low.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn refresh(&self) -> Result<(), LedgerError> {
        // Concurrent settlements are allowed: an older read may replace the stock that one of them published, and it is
        // higher, never lower.
        let _guard = self.change_lock.read().await;
        for campaign in self.ledger.campaigns().await? {
            if self.get(campaign.coupon_id).is_none_or(|cached| cached.snapshot() != campaign) {
                self.insert(campaign);
            }
        }
        Ok(())
    }

    /// Whether a campaign with a cached stock of zero is sold out in the ledger too, as read after this call began.
    /// Concurrent calls share one refresh.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn is_sold_out(&self, coupon: CouponId) -> Result<bool, LedgerError> {
        if self.ledger.is_shared() {
            let called_at = Instant::now();
            let mut refreshed_at = self.refreshed_at.lock().await;
            if refreshed_at.is_none_or(|refreshed_at| refreshed_at < called_at) {
                let started_at = Instant::now();
                self.refresh().await?;
                *refreshed_at = Some(started_at);
            }
        }
        Ok(self.get(coupon).is_none_or(|cached| cached.remaining() == 0))
    }

    /// Call it before a settlement's transaction, and hold the guard until the stock is published.
    pub async fn begin_settlement(&self) -> SettlementGuard<'_> {
        SettlementGuard { cache: self, _guard: self.change_lock.read().await }
    }

    fn insert(&self, campaign: Campaign) {
        let coupon_id = campaign.coupon_id;
        let previous = self.get(coupon_id);
        for stock in &campaign.shards {
            self.telemetry.emit(StockSeen { coupon_id, shard_no: stock.shard_no, remaining: stock.remaining });
        }
        let cached = Arc::new(CachedCampaign::new(campaign, previous.as_deref()));
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
        self.cache.telemetry.emit(StockSeen { coupon_id, shard_no, remaining });
        if let Some(cached) = self.cache.get(coupon_id)
            && let Some(shard) = cached.shard(shard_no)
        {
            shard.remaining.store(remaining, Ordering::Relaxed);
        }
    }

    /// Subtracts settled records from the unsettled count of the shard that was picked for them.
    pub fn subtract_unsettled(&self, coupon_id: CouponId, shard_no: ShardNo, records: u64) {
        if let Some(cached) = self.cache.get(coupon_id)
            && let Some(shard) = cached.shard(shard_no)
        {
            subtract(&shard.unsettled, records);
        }
    }
}
