//! The campaigns and their stock, cached so that admission refuses early and the shard picker sees the stock without
//! a query. The ledger decides.
//!
//! Invariant: without other processes, the cached stock is never below the ledger's. Settlements lower the stock, and
//! only [`CampaignCache::change`] raises it. A change waits until every committed settlement of its ledger group has also
//! published its stock. A cached stock of zero is therefore final, and a request may be refused as SOLD_OUT. If other processes
//! share the ledger, [`CampaignCache::is_sold_out`] reads the ledger first.
//!
//! Several sources report at once. A refresh takes a number before it reads; stock that was reported under a later
//! number is newer, and the refresh leaves it alone. Terms are newer if the ledger's version is higher.
//!
//! A campaign that is over leaves memory and metrics. Only its coupon and policy are kept, so that a request for it is
//! answered without a query.

mod cached;
mod group_state;
mod refresher;
mod stock_reads;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard as SyncMutexGuard, PoisonError, RwLock as SyncRwLock};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::RwLockReadGuard;

use self::group_state::GroupState;
use crate::coupon::{
    Campaign, CampaignChange, ChangeKey, CouponId, Entry, GroupLayout, GroupNo, NewCampaign, PartitionNo, PolicyId,
    ShardNo, ShardStock, now_ms,
};
use crate::ledger::{CampaignChanges, CampaignError, Ledger, LedgerError};
use crate::telemetry::{CampaignGone, ShardGone, StockSeen, Telemetry};

pub use cached::{CachedCampaign, CachedShard, UnsettledGuard};

/// A refresh reads the stock of at most this many campaigns for which no request came. With 10,000 campaigns, each has
/// its turn every ten seconds; to read them all would keep a gateway busy that has nothing to do.
const IDLE_READ_MAX: usize = 256;

/// All campaigns as this process last saw them.
pub struct CampaignCache {
    ledger: Arc<dyn Ledger>,
    layout: GroupLayout,
    telemetry: Telemetry,
    /// Those that may accept requests, now or later. Replaced only by the holder of `reports`.
    campaigns: ArcSwap<HashMap<CouponId, Arc<CachedCampaign>>>,
    /// Those that are over, 24 bytes each.
    closed: SyncRwLock<HashMap<CouponId, (PolicyId, GroupNo)>>,
    groups: Vec<GroupState>,
    /// Locked while a report is entered.
    reports: SyncMutex<Reports>,
}

struct Reports {
    /// The number of the newest report.
    number: u64,
    /// For each group: the cache contains every change up to this version.
    versions: Vec<u64>,
}

impl CampaignCache {
    /// Reads the campaigns of all ledger groups that can be reached. The others follow with a later
    /// [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// When the first group cannot be read.
    pub async fn load(ledger: Arc<dyn Ledger>, layout: GroupLayout, telemetry: Telemetry) -> Result<Self, LedgerError> {
        let cache = Self {
            ledger,
            layout,
            telemetry,
            campaigns: ArcSwap::default(),
            closed: SyncRwLock::default(),
            groups: layout.groups().map(|_| GroupState::default()).collect(),
            reports: SyncMutex::new(Reports { number: 0, versions: layout.groups().map(|_| 0).collect() }),
        };
        for (group, read) in layout.groups().zip(join_all(layout.groups().map(|group| cache.refresh(group))).await) {
            match read {
                Err(error) if group == GroupNo::FIRST => return Err(error),
                Err(error) => tracing::warn!(%group, %error, "campaigns of a ledger group not read"),
                Ok(()) => {}
            }
        }
        Ok(cache)
    }

    /// Whether the campaigns of every ledger group are known. Otherwise, an unknown coupon may have one.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.groups.iter().all(|group| group.is_read.load(Ordering::Relaxed))
    }

    /// The partition of a shard's requests.
    #[must_use]
    pub fn partition_of(&self, campaign: &Campaign, shard: ShardNo) -> PartitionNo {
        self.layout.partition(campaign.group, campaign.coupon_id, shard)
    }

    /// The campaign of a coupon, also one that is over.
    #[must_use]
    pub fn get(&self, coupon: CouponId) -> Option<Arc<CachedCampaign>> {
        if let Some(cached) = self.campaigns.load().get(&coupon) {
            return Some(Arc::clone(cached));
        }
        let (policy, group) = *self.closed.read().unwrap_or_else(PoisonError::into_inner).get(&coupon)?;
        Some(Arc::new(CachedCampaign::closed(coupon, policy, group)))
    }

    /// Whether the campaign of a coupon is over.
    #[must_use]
    pub fn is_over(&self, coupon: CouponId) -> bool {
        self.closed.read().unwrap_or_else(PoisonError::into_inner).contains_key(&coupon)
    }

    /// The campaigns that may accept requests, now or later, in any order.
    #[must_use]
    pub fn live(&self) -> Vec<Arc<CachedCampaign>> {
        self.campaigns.load().values().cloned().collect()
    }

    /// Whether there is no campaign, not even one that is over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.campaigns.load().is_empty() && self.closed.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Creates a campaign in a ledger group: the one that is named, or one by the hash of the coupon. The `bool` is false
    /// if the same campaign exists already.
    ///
    /// # Errors
    /// [`CampaignError::Exists`] when the coupon has a campaign with other terms, [`CampaignError::OtherGroup`] when the
    /// coupon belongs to another group than the named one.
    pub async fn create(&self, new: &NewCampaign, named: Option<GroupNo>) -> Result<(Campaign, bool), CampaignError> {
        let (coupon, groups) = (new.coupon_id, self.ledger.groups());
        let wanted = named.unwrap_or_else(|| GroupNo::of(coupon, groups));
        if wanted.0 >= groups {
            return Err(CampaignError::NoSuchGroup { group: wanted, groups });
        }
        let group = self.ledger.assign_group(coupon, wanted).await?;
        if named.is_some_and(|named| named != group) {
            return Err(CampaignError::OtherGroup { coupon, group });
        }
        let _guard = self.group(group).change_lock.write().await;
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
        let group = match self.get(coupon) {
            Some(cached) => cached.campaign.group,
            None => self.ledger.group_of(coupon).await?.ok_or(CampaignError::NotFound(coupon))?,
        };
        let _guard = self.group(group).change_lock.write().await;
        let campaign = self.ledger.change_campaign(coupon, change, key).await?;
        self.report(campaign.clone());
        Ok(campaign)
    }

    /// Reads from a ledger group which campaigns changed, and the stock of those for which requests came since the last
    /// refresh. The others have their turn: the first requests of such a campaign see the stock of some seconds ago. A
    /// top-up by another process is a change.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub async fn refresh(&self, group: GroupNo) -> Result<(), LedgerError> {
        self.read(group, &self.coupons_due(group)).await.map(|_| ())
    }

    fn coupons_due(&self, group: GroupNo) -> Vec<CouponId> {
        let campaigns = self.campaigns.load();
        let turns = campaigns.len().div_ceil(IDLE_READ_MAX).max(1);
        let turn = self.group(group).refreshes.fetch_add(1, Ordering::Relaxed) % turns;
        let is_due = |&(place, cached): &(usize, &Arc<CachedCampaign>)| cached.take_request() || place % turns == turn;
        let of_group = campaigns.values().filter(|cached| cached.campaign.group == group);
        of_group.enumerate().filter(is_due).map(|(_, cached)| cached.campaign.coupon_id).collect()
    }

    fn group(&self, group: GroupNo) -> &GroupState {
        &self.groups[group.index()]
    }

    /// Reads the stock of these coupons, and then which campaigns changed, so that the shards of all that stock are
    /// known. Sold-out campaigns are read too: a settlement that committed before a reshard by another process may
    /// report an empty shard after it.
    async fn read(
        &self,
        group: GroupNo,
        coupons: &[CouponId],
    ) -> Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError> {
        let state = self.group(group);
        let _guard = state.change_lock.read().await;
        let (begun, version) = self.lock_reports().before(group);
        let stock = if coupons.is_empty() { HashMap::new() } else { self.ledger.stock(group, coupons).await? };
        let changes = self.ledger.campaign_changes(group, version).await?;
        let mut reports = self.lock_reports();
        reports.number += 1;
        // Another refresh may have entered these changes meanwhile, or newer ones.
        let version = &mut reports.versions[group.index()];
        let changes = if changes.version > *version { changes } else { CampaignChanges::default() };
        *version = changes.version.max(*version);
        self.enter(group, changes, begun, reports.number);
        self.enter_stock(&stock, begun, reports.number);
        state.is_read.store(true, Ordering::Relaxed);
        Ok(stock)
    }

    /// Whether a campaign with a cached stock of zero is sold out in the ledger too, as read after this call began.
    /// Concurrent calls for a coupon share one read. If it has stock, the cache has it too afterwards.
    ///
    /// # Errors
    /// When the ledger cannot be read within a second, and for a second after that.
    pub async fn is_sold_out(&self, coupon: CouponId) -> Result<bool, LedgerError> {
        let Some(cached) = self.get(coupon) else { return Ok(true) };
        if !self.ledger.is_shared() {
            return Ok(cached.remaining() == 0);
        }
        let group = cached.campaign.group;
        self.group(group).stock_reads.is_sold_out(coupon, self.read_is_sold_out(group, coupon)).await
    }

    async fn read_is_sold_out(&self, group: GroupNo, coupon: CouponId) -> Result<bool, LedgerError> {
        // Not the cached stock: a settlement that committed before the read may have reported after it.
        let stock = self.read(group, &[coupon]).await?;
        Ok(stock.values().flatten().all(|shard| shard.remaining == 0))
    }

    /// Subtracts settled records from the unsettled count of the shard that was picked for them.
    pub fn subtract_unsettled(&self, coupon_id: CouponId, shard_no: ShardNo, records: u64) {
        if let Some(cached) = self.get(coupon_id)
            && let Some(shard) = cached.shard(shard_no)
        {
            shard.subtract_unsettled(records);
        }
    }

    /// Call it before the transaction of a settlement in this group, and hold the guard until the stock is published.
    pub async fn begin_settlement(&self, group: GroupNo) -> SettlementGuard<'_> {
        SettlementGuard { cache: self, _guard: self.group(group).change_lock.read().await }
    }

    /// Enters what a change made of a campaign. Nothing else was reported since it began.
    fn report(&self, campaign: Campaign) {
        let mut reports = self.lock_reports();
        let begun = reports.number;
        reports.number += 1;
        let group = campaign.group;
        let changes = CampaignChanges { campaigns: vec![campaign], ..CampaignChanges::default() };
        self.enter(group, changes, begun, reports.number);
    }

    fn lock_reports(&self) -> SyncMutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters campaigns of a group that changed, and lets go of all that are over. Copies the map at most once.
    fn enter(&self, group: GroupNo, changes: CampaignChanges, begun: u64, report: u64) {
        let now = now_ms();
        let is_over = |campaign: &Campaign| campaign.entry_at(now) == Entry::Closed;
        let name = |campaign: &Campaign| (campaign.coupon_id, (campaign.policy_id, campaign.group));
        let cached = self.campaigns.load_full();
        let (over, live): (Vec<_>, Vec<_>) = changes.campaigns.into_iter().partition(is_over);
        let expired = cached.values().map(|cached| &cached.campaign).filter(|campaign| is_over(campaign));
        let closed = changes.closed.into_iter().map(|(coupon, policy)| (coupon, (policy, group)));
        let closed: Vec<_> = closed.chain(over.iter().chain(expired).map(name)).collect();
        if live.is_empty() && closed.is_empty() {
            return;
        }
        let mut next = HashMap::clone(&cached);
        for campaign in live {
            self.insert(&mut next, campaign, begun, report);
        }
        // Before the map is replaced, so that every reader finds the campaign in one of the two.
        self.closed.write().unwrap_or_else(PoisonError::into_inner).extend(closed.iter().copied());
        for gone in closed.iter().filter_map(|(coupon, _)| next.remove(coupon)) {
            self.forget(&gone);
        }
        self.campaigns.store(Arc::new(next));
    }

    fn insert(
        &self,
        campaigns: &mut HashMap<CouponId, Arc<CachedCampaign>>,
        campaign: Campaign,
        begun: u64,
        report: u64,
    ) {
        let coupon_id = campaign.coupon_id;
        let previous = campaigns.get(&coupon_id);
        let cached = CachedCampaign::new(campaign, previous.map(|previous| &**previous), begun, report);
        for shard in &cached.shards {
            self.telemetry.emit(StockSeen { coupon_id, shard_no: shard.shard_no, remaining: shard.remaining() });
        }
        for removed in previous.iter().flat_map(|previous| &previous.shards) {
            if cached.shard(removed.shard_no).is_none() {
                self.telemetry.emit(ShardGone { coupon_id, shard_no: removed.shard_no });
            }
        }
        campaigns.insert(coupon_id, Arc::new(cached));
    }

    /// Forgets what else is kept of a campaign.
    fn forget(&self, gone: &CachedCampaign) {
        let coupon_id = gone.campaign.coupon_id;
        self.group(gone.campaign.group).stock_reads.forget(coupon_id);
        for shard in &gone.shards {
            self.telemetry.emit(ShardGone { coupon_id, shard_no: shard.shard_no });
        }
        self.telemetry.emit(CampaignGone { coupon_id });
    }

    /// Enters what a refresh read, unless a report after `begun` is newer.
    fn enter_stock(&self, stock: &HashMap<CouponId, Vec<ShardStock>>, begun: u64, report: u64) {
        let campaigns = self.campaigns.load();
        for (&coupon_id, shards) in stock {
            let Some(cached) = campaigns.get(&coupon_id) else { continue };
            for &ShardStock { shard_no, remaining } in shards {
                if let Some(shard) = cached.shard(shard_no).filter(|shard| !shard.is_newer_than(begun)) {
                    if shard.remaining() != remaining {
                        self.telemetry.emit(StockSeen { coupon_id, shard_no, remaining });
                    }
                    shard.set_remaining(remaining, report);
                }
            }
        }
    }
}

impl Reports {
    /// The number of the newest report, and the version of a group that it contains.
    fn before(&self, group: GroupNo) -> (u64, u64) {
        (self.number, self.versions[group.index()])
    }
}

/// A settlement in progress. No campaign of its group changes until it is dropped.
pub struct SettlementGuard<'a> {
    cache: &'a CampaignCache,
    _guard: RwLockReadGuard<'a, ()>,
}

impl SettlementGuard<'_> {
    /// Sets the stock that the settlement left in a shard.
    pub fn set_remaining(&self, coupon_id: CouponId, shard_no: ShardNo, remaining: u64) {
        let mut reports = self.cache.lock_reports();
        reports.number += 1;
        // Nothing else may bring back the series of a shard or a campaign that is gone.
        if let Some(cached) = self.cache.get(coupon_id)
            && let Some(shard) = cached.shard(shard_no)
        {
            shard.set_remaining(remaining, reports.number);
            self.cache.telemetry.emit(StockSeen { coupon_id, shard_no, remaining });
        }
    }
}
