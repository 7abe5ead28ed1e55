//! What this gateway last knew of each campaign: enough to turn people away early, and to tell the
//! shard picker where there is stock. The ledger has the last word.
//!
//! What is known here is never less than what the ledger holds: stock falls by settlements and rises
//! only by [`CampaignCache::change`], which waits until no settlement stands between its commit and its
//! [`Settling::publish`]. So a known stock of zero is the truth, and SOLD_OUT may be said from it; where
//! other processes change campaigns too, [`CampaignCache::is_sold_out`] asks the ledger first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::coupon::{Campaign, CampaignChange, CouponId, NewCampaign, ShardNo};
use crate::ledger::{CampaignError, Ledger, LedgerError};
use crate::telemetry::{ShardGone, StockSeen, Telemetry};

/// The campaigns of this gateway.
pub struct CampaignCache {
    ledger: Arc<dyn Ledger>,
    telemetry: Telemetry,
    known: ArcSwap<HashMap<CouponId, Arc<CachedCampaign>>>,
    /// Shared by settlements, exclusive to changes.
    order: RwLock<()>,
    /// When the newest reading of the ledger began.
    read_at: Mutex<Option<Instant>>,
}

/// A campaign as it was last seen.
pub struct CachedCampaign {
    /// Its terms and state.
    pub campaign: Campaign,
    /// Ordered by number, never empty.
    pub shards: Vec<CachedShard>,
}

/// A shard as it was last seen.
pub struct CachedShard {
    /// Which one.
    pub shard_no: ShardNo,
    remaining: AtomicU64,
    unsettled: AtomicU64,
}

impl CachedShard {
    /// Stock when it was last settled.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining.load(Ordering::Relaxed)
    }

    /// Requests that this process accepted for it and that are not settled.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// No more can be unsettled than wait in its partition: what another process settled is not counted off
    /// here.
    pub fn bound_unsettled(&self, waiting: u64) {
        self.unsettled.fetch_min(waiting, Ordering::Relaxed);
    }

    /// A request is on its way to it: counted before it is appended, since it may be settled before
    /// the one who appended it knows.
    pub fn accept(&self) -> Unsettled<'_> {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        Unsettled(Some(&self.unsettled))
    }
}

/// A request that counts as unsettled; no more when it is dropped without being kept.
pub struct Unsettled<'a>(Option<&'a AtomicU64>);

impl Unsettled<'_> {
    /// The request is in the log: settlement counts it off.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Some(unsettled) = self.0 {
            count_off(unsettled, 1);
        }
    }
}

/// Saturates: records that were accepted before this process started were never counted.
fn count_off(unsettled: &AtomicU64, records: u64) {
    let less = |unsettled: u64| Some(unsettled.saturating_sub(records));
    let _ = unsettled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

impl CachedCampaign {
    fn of(campaign: Campaign, before: Option<&Self>) -> Self {
        let unsettled = |shard_no| before.and_then(|known| known.shard(shard_no)).map_or(0, CachedShard::unsettled);
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

    /// A shard by its number.
    #[must_use]
    pub fn shard(&self, shard_no: ShardNo) -> Option<&CachedShard> {
        let place = self.shards.binary_search_by_key(&shard_no, |shard| shard.shard_no).ok()?;
        self.shards.get(place)
    }

    /// What is left in all shards.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.shards.iter().map(CachedShard::remaining).sum()
    }

    /// The campaign with the stock as it was last seen.
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
        let this =
            Self { ledger, telemetry, known: ArcSwap::default(), order: RwLock::new(()), read_at: Mutex::default() };
        for campaign in campaigns {
            this.see(campaign);
        }
        Ok(this)
    }

    /// One campaign.
    #[must_use]
    pub fn get(&self, coupon: CouponId) -> Option<Arc<CachedCampaign>> {
        self.known.load().get(&coupon).cloned()
    }

    /// All campaigns, ordered by coupon.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<CachedCampaign>> {
        let mut all: Vec<_> = self.known.load().values().cloned().collect();
        all.sort_by_key(|known| known.campaign.coupon_id);
        all
    }

    /// Makes a campaign; the `bool` says whether it is new.
    ///
    /// # Errors
    /// [`CampaignError::Exists`] when there is one with other terms.
    pub async fn create(&self, new: &NewCampaign) -> Result<(Campaign, bool), CampaignError> {
        let _alone = self.order.write().await;
        let is_new = self.ledger.campaign(new.coupon_id).await?.is_none();
        let campaign = self.ledger.create_campaign(new).await?;
        self.see(campaign.clone());
        Ok((campaign, is_new))
    }

    /// Changes a campaign.
    ///
    /// # Errors
    /// Those of [`Ledger::change_campaign`].
    pub async fn change(&self, coupon: CouponId, change: CampaignChange) -> Result<Campaign, CampaignError> {
        let _alone = self.order.write().await;
        let campaign = self.ledger.change_campaign(coupon, change).await?;
        self.see(campaign.clone());
        Ok(campaign)
    }

    /// Reads what other processes changed. A top-up of theirs is known only then: until it is, this process
    /// goes on with less.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn refresh(&self) -> Result<(), LedgerError> {
        // Shared with settlements: what they publish meanwhile may be covered by what was read before, which
        // is more, and never less.
        let _shared = self.order.read().await;
        for campaign in self.ledger.campaigns().await? {
            if self.get(campaign.coupon_id).is_none_or(|known| known.snapshot() != campaign) {
                self.see(campaign);
            }
        }
        Ok(())
    }

    /// Whether a campaign whose known stock is zero has none, as the ledger says after this was asked. Many
    /// who ask at once share one reading.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn is_sold_out(&self, coupon: CouponId) -> Result<bool, LedgerError> {
        if self.ledger.is_shared() {
            let asked_at = Instant::now();
            let mut read_at = self.read_at.lock().await;
            if read_at.is_none_or(|read_at| read_at < asked_at) {
                let begun_at = Instant::now();
                self.refresh().await?;
                *read_at = Some(begun_at);
            }
        }
        Ok(self.get(coupon).is_none_or(|known| known.remaining() == 0))
    }

    /// Taken before a settlement begins, and held until it is published.
    pub async fn settling(&self) -> Settling<'_> {
        Settling { campaigns: self, _shared: self.order.read().await }
    }

    fn see(&self, campaign: Campaign) {
        let coupon_id = campaign.coupon_id;
        let before = self.get(coupon_id);
        for stock in &campaign.shards {
            self.telemetry.emit(StockSeen { coupon_id, shard_no: stock.shard_no, remaining: stock.remaining });
        }
        let known = Arc::new(CachedCampaign::of(campaign, before.as_deref()));
        for gone in before.iter().flat_map(|before| &before.shards) {
            if known.shard(gone.shard_no).is_none() {
                self.telemetry.emit(ShardGone { coupon_id, shard_no: gone.shard_no });
            }
        }
        self.known.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.insert(coupon_id, Arc::clone(&known));
            all
        });
    }
}

/// A settlement under way: no campaign changes until it is dropped.
pub struct Settling<'a> {
    campaigns: &'a CampaignCache,
    _shared: RwLockReadGuard<'a, ()>,
}

impl Settling<'_> {
    /// A settlement left this stock.
    pub fn publish(&self, coupon_id: CouponId, shard_no: ShardNo, remaining: u64) {
        self.campaigns.telemetry.emit(StockSeen { coupon_id, shard_no, remaining });
        if let Some(known) = self.campaigns.get(coupon_id)
            && let Some(shard) = known.shard(shard_no)
        {
            shard.remaining.store(remaining, Ordering::Relaxed);
        }
    }

    /// So many requests that were accepted for a shard are settled.
    pub fn settled(&self, coupon_id: CouponId, shard_no: ShardNo, records: u64) {
        if let Some(known) = self.campaigns.get(coupon_id)
            && let Some(shard) = known.shard(shard_no)
        {
            count_off(&shard.unsettled, records);
        }
    }
}
