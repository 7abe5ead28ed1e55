//! A campaign as this process last saw it, with its stock and its unsettled requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::coupon::{Campaign, CampaignState, CouponId, GroupNo, PolicyId, ShardNo};

/// A campaign as this process last saw it.
pub struct CachedCampaign {
    /// Its terms and state. The current stock is in `shards`.
    pub campaign: Campaign,
    /// Ordered by shard number; empty if the campaign is closed.
    pub shards: Vec<CachedShard>,
    /// Whether a request came since the stock was last read.
    is_requested: AtomicBool,
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

    /// Whether the stock comes from a later report than this one.
    pub(super) fn is_newer_than(&self, report: u64) -> bool {
        self.counts.report.load(Ordering::Relaxed) > report
    }

    pub(super) fn subtract_unsettled(&self, records: u64) {
        self.counts.subtract_unsettled(records);
    }

    pub(super) fn set_remaining(&self, remaining: u64, report: u64) {
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
    /// Takes over from `previous` what it counts, and the stock that was reported after `begun`.
    pub(super) fn new(campaign: Campaign, previous: Option<&Self>, begun: u64, report: u64) -> Self {
        let shards = campaign.shards.iter().map(|stock| {
            let previous = previous.and_then(|cached| cached.shard(stock.shard_no));
            let counts = previous.map(|shard| Arc::clone(&shard.counts)).unwrap_or_default();
            let shard = CachedShard { shard_no: stock.shard_no, counts };
            if !shard.is_newer_than(begun) {
                shard.set_remaining(stock.remaining, report);
            }
            shard
        });
        Self { shards: shards.collect(), campaign, is_requested: AtomicBool::new(false) }
    }

    /// What is left of a campaign that accepts no more requests: enough to answer CLOSED.
    pub(super) fn closed(coupon_id: CouponId, policy_id: PolicyId, group: GroupNo) -> Self {
        let campaign = Campaign {
            coupon_id,
            policy_id,
            group,
            total: 0,
            per_user_limit: 0,
            state: CampaignState::Closed,
            opens_at_ms: None,
            closes_at_ms: None,
            shards: Vec::new(),
        };
        Self { campaign, shards: Vec::new(), is_requested: AtomicBool::new(false) }
    }

    /// A request came: the next refresh reads the stock.
    pub fn note_request(&self) {
        // Requests on all workers share the flag. Read, it stays in their caches.
        if !self.is_requested.load(Ordering::Relaxed) {
            self.is_requested.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request came since the last call.
    pub(super) fn take_request(&self) -> bool {
        self.is_requested.swap(false, Ordering::Relaxed)
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
}
