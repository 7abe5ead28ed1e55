//! What one gateway knows: the stock and the lag, as it last learned of them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::ledger::SimulatedLedger;
use super::system::System;
use super::virtual_time::virtual_ms;
use crate::admission::{LoadGauge, Sampler};
use crate::coupon::{CouponId, GroupLayout, GroupNo, NewCampaign, Offset, PartitionNo, RequestId, ShardNo, ShardStock};
use crate::policy;
use crate::settlement::{Progress, Verdict};

pub(super) struct Gateway {
    pub(super) load: LoadGauge,
    /// How far it knows each partition to be settled.
    pub(super) progress: Progress,
    sampler: Sampler,
    /// The real time that virtual time is added to. No result depends on it.
    started: Instant,
    in_flight: usize,
    campaigns: Vec<CampaignView>,
    indexes: HashMap<CouponId, usize>,
    /// Requests that will be sent again, and are in the log.
    recent: HashSet<RequestId>,
}

struct CampaignView {
    coupon_id: CouponId,
    shards: Vec<ShardView>,
}

struct ShardView {
    shard_no: ShardNo,
    partition: PartitionNo,
    remaining: u64,
    /// Requests that this gateway accepted and does not know to be settled.
    unsettled: u64,
}

impl Gateway {
    pub(super) fn new(campaigns: &[NewCampaign], system: &System) -> Self {
        let progress = Progress::new(vec![0; system.partitions as usize]);
        // The model has one ledger group.
        let (load, started) = (LoadGauge::new(GroupLayout::new(1, system.partitions)), Instant::now());
        let sampler = load.sampler(started, &progress);
        let indexes = campaigns.iter().enumerate().map(|(index, campaign)| (campaign.coupon_id, index)).collect();
        let campaigns = campaigns.iter().map(|campaign| CampaignView::new(campaign, system.partitions)).collect();
        Self { load, progress, sampler, started, in_flight: 0, campaigns, indexes, recent: HashSet::new() }
    }

    pub(super) fn begin_request(&mut self) {
        self.load.count_arrival();
        self.in_flight += 1;
    }

    pub(super) fn end_request(&mut self) {
        self.in_flight -= 1;
    }

    pub(super) fn load(&self) -> policy::Load {
        self.load.read(self.in_flight, GroupNo::FIRST)
    }

    pub(super) fn remaining(&self, campaign: usize) -> u64 {
        self.campaigns[campaign].shards.iter().map(|shard| shard.remaining).sum()
    }

    pub(super) fn offered_shards(&self, campaign: usize) -> Vec<policy::Shard> {
        let offered = |shard: &ShardView| policy::Shard {
            shard_no: shard.shard_no.0,
            remaining: shard.remaining,
            unsettled: shard.unsettled,
            lag_records: self.load.lag_records(shard.partition),
        };
        self.campaigns[campaign].shards.iter().map(offered).collect()
    }

    pub(super) fn add_unsettled(&mut self, campaign: usize, shard_no: ShardNo) {
        self.shard(campaign, shard_no).unsettled += 1;
    }

    /// A settlement in this process decided a request that this gateway accepted.
    pub(super) fn subtract_unsettled(&mut self, campaign: usize, picked: ShardNo) {
        let shard = self.shard(campaign, picked);
        shard.unsettled = shard.unsettled.saturating_sub(1);
    }

    /// Takes over the stock that a settlement in this process left.
    pub(super) fn publish(&mut self, verdict: &Verdict) {
        for take in &verdict.takes {
            let left = verdict.left[&take.coupon_id].shards[&take.shard_no];
            self.shard(self.indexes[&take.coupon_id], take.shard_no).remaining = left;
        }
    }

    fn shard(&mut self, campaign: usize, shard_no: ShardNo) -> &mut ShardView {
        &mut self.campaigns[campaign].shards[shard_no.0 as usize]
    }

    /// Updates the load, as the sampler of a gateway does.
    pub(super) fn sample(&mut self, now: Duration, end_offset: impl Fn(PartitionNo) -> Offset) {
        let at = self.started + now;
        self.load.update(&mut self.sampler, at, virtual_ms(now), &self.progress, end_offset, |_| {});
    }

    /// Reads the stock and the progress, as the ledger poller of a gateway does.
    pub(super) fn poll(&mut self, ledger: &SimulatedLedger, end_offset: impl Fn(PartitionNo) -> Offset) {
        for (partition, next_offset) in (0..).map(PartitionNo).zip(ledger.next_offsets()) {
            self.progress.catch_up(partition, *next_offset);
        }
        for CampaignView { coupon_id, shards } in &mut self.campaigns {
            for shard in shards {
                shard.remaining = ledger.committed_stock(*coupon_id, shard.shard_no);
                let settled = self.progress.next_offset(shard.partition);
                shard.unsettled = shard.unsettled.min(end_offset(shard.partition).saturating_sub(settled));
            }
        }
    }

    pub(super) fn remember(&mut self, request: RequestId) {
        self.recent.insert(request);
    }

    /// Whether it appended the first attempt of a request.
    pub(super) fn remembers(&self, request: RequestId) -> bool {
        self.recent.contains(&request)
    }
}

impl CampaignView {
    fn new(campaign: &NewCampaign, partitions: u32) -> Self {
        let view = |stock: ShardStock| ShardView {
            shard_no: stock.shard_no,
            partition: PartitionNo::of(campaign.coupon_id, stock.shard_no, partitions),
            remaining: stock.remaining,
            unsettled: 0,
        };
        Self { coupon_id: campaign.coupon_id, shards: campaign.initial_stock().into_iter().map(view).collect() }
    }
}
