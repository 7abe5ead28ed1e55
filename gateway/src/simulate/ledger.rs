//! The ledger of a simulation: stock, grants and offsets, with the locks of a transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::coupon::{CouponId, NewCampaign, Offset, Outcome, PartitionNo, RequestId, ShardNo};
use crate::ledger::{Grants, LockedStock, Shards};
use crate::settlement::{Facts, Item, Verdict};

pub(super) struct SimulatedLedger {
    campaigns: BTreeMap<CouponId, Campaign>,
    /// A decision counts at once, so a user whose requests are in two partitions exceeds no limit. The real ledger lets
    /// the second transaction wait for the first, and settles it again.
    grants: Grants,
    /// Requests that are sent twice, and have an outcome.
    settled: HashSet<RequestId>,
    next_offsets: Vec<Offset>,
}

struct Campaign {
    per_user_limit: u32,
    /// As the open transactions leave it.
    stock: BTreeMap<ShardNo, u64>,
    committed: BTreeMap<ShardNo, u64>,
    locked: BTreeSet<ShardNo>,
}

/// The locks of a transaction.
pub(super) type Locks = Vec<(CouponId, ShardNo)>;

impl SimulatedLedger {
    pub(super) fn new(campaigns: &[NewCampaign], partitions: u32) -> Self {
        let campaigns = campaigns.iter().map(|new| (new.coupon_id, Campaign::new(new))).collect();
        let next_offsets = vec![0; partitions as usize];
        Self { campaigns, grants: HashMap::new(), settled: HashSet::new(), next_offsets }
    }

    /// Locks shards that have stock, and reads what a verdict needs. `None` while another transaction holds one of them.
    ///
    /// An empty shard stays empty, so it needs no lock.
    pub(super) fn lock(&mut self, wanted: &BTreeMap<CouponId, Shards>, items: &[&Item]) -> Option<(Facts, Locks)> {
        let mut stock = BTreeMap::new();
        let mut locks = Locks::new();
        for (coupon, shards) in wanted {
            let read = self.campaigns[coupon].read(shards)?;
            locks.extend(read.shards.iter().filter(|(_, left)| **left > 0).map(|(shard, _)| (*coupon, *shard)));
            stock.insert(*coupon, read);
        }
        for (coupon, shard) in &locks {
            self.campaign(*coupon).locked.insert(*shard);
        }
        Some((Facts { replays: self.replays(items), grants: self.grants(items), stock }, locks))
    }

    /// Takes the stock of a verdict, which others see once it is committed.
    pub(super) fn decide(&mut self, verdict: &Verdict) {
        for take in &verdict.takes {
            let left = self.campaign(take.coupon_id).stock.get_mut(&take.shard_no).expect("the verdict read it");
            *left = left.checked_sub(take.records).expect("the verdict took what was left");
        }
        for settled in &verdict.settled {
            if let (Outcome::Issued { grant_no, .. }, Some(subject)) = (settled.outcome, &settled.subject) {
                self.grants.insert((subject.coupon_id, subject.user_id), grant_no);
            }
        }
    }

    /// Makes the stock of these shards visible to others, and releases the locks.
    pub(super) fn commit(&mut self, locks: Locks) {
        for (coupon, shard) in locks {
            let campaign = self.campaign(coupon);
            campaign.committed.insert(shard, campaign.stock[&shard]);
            campaign.locked.remove(&shard);
        }
    }

    pub(super) fn advance(&mut self, partition: PartitionNo, next_offset: Offset) {
        self.next_offsets[partition.0 as usize] = next_offset;
    }

    /// The request will be, or was, sent twice.
    pub(super) fn remember(&mut self, request: RequestId) {
        self.settled.insert(request);
    }

    pub(super) fn remembers(&self, request: RequestId) -> bool {
        self.settled.contains(&request)
    }

    pub(super) fn next_offsets(&self) -> &[Offset] {
        &self.next_offsets
    }

    pub(super) fn committed_stock(&self, coupon: CouponId, shard: ShardNo) -> u64 {
        self.campaigns[&coupon].committed[&shard]
    }

    /// The stock of a campaign that is left.
    pub(super) fn remaining(&self, coupon: CouponId) -> u64 {
        self.campaigns[&coupon].stock.values().sum()
    }

    fn campaign(&mut self, coupon: CouponId) -> &mut Campaign {
        self.campaigns.get_mut(&coupon).expect("requests name campaigns of the scenario")
    }

    fn replays(&self, items: &[&Item]) -> BTreeSet<RequestId> {
        if self.settled.is_empty() {
            return BTreeSet::new();
        }
        items.iter().map(|item| item.request_id).filter(|request| self.remembers(*request)).collect()
    }

    fn grants(&self, items: &[&Item]) -> Grants {
        let requests = items.iter().filter_map(|item| Some(&item.content.as_ref().ok()?.request));
        let holders = requests.map(|request| (request.coupon_id, request.user_id));
        holders.filter_map(|holder| Some((holder, *self.grants.get(&holder)?))).collect()
    }
}

impl Campaign {
    fn new(new: &NewCampaign) -> Self {
        let stock: BTreeMap<_, _> =
            new.initial_stock().into_iter().map(|stock| (stock.shard_no, stock.remaining)).collect();
        Self { per_user_limit: new.per_user_limit, committed: stock.clone(), stock, locked: BTreeSet::new() }
    }

    fn read(&self, wanted: &Shards) -> Option<LockedStock> {
        let complete = *wanted == Shards::All;
        let is_wanted = |shard: &ShardNo| match wanted {
            Shards::All => true,
            Shards::Some(numbers) => numbers.contains(shard),
        };
        let shards: BTreeMap<_, _> =
            self.stock.iter().filter(|(shard, _)| is_wanted(shard)).map(|(shard, left)| (*shard, *left)).collect();
        let is_free = shards.keys().all(|shard| !self.locked.contains(shard));
        is_free.then_some(LockedStock { per_user_limit: self.per_user_limit, shards, complete })
    }
}
