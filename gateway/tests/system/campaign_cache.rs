//! What a process knows of its campaigns, when several sources report at once.

use std::sync::Arc;

use sluice::app::Ports;
use sluice::campaign_cache::{CachedShard, CampaignCache};
use sluice::coupon::{
    Accepted, Arm, CampaignChange, CampaignCounts, CampaignState, CouponId, GroupLayout, GroupNo, IssueRequest,
    NewCampaign, PartitionNo, RequestId, ShardNo, now_ms,
};
use sluice::ledger::{self, Ledger, StockDecrement};
use sluice::log::{Headers, Record};
use sluice::settlement::{Progress, Settlement};
use sluice::telemetry::BatchSettled;
use tokio_util::sync::CancellationToken;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, eventually, replace_ledger};

const LAYOUT: GroupLayout = GroupLayout::new(1, 12);

fn coupon() -> CouponId {
    104_u64.try_into().expect("in range")
}

fn campaign() -> NewCampaign {
    NewCampaign {
        coupon_id: coupon(),
        policy_id: 21_u64.try_into().expect("in range"),
        total: 10,
        shards: 1,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    }
}

struct Cached {
    cache: Arc<CampaignCache>,
    /// What another process uses.
    ledger: Arc<dyn Ledger>,
    faults: Arc<LedgerFaults>,
    ports: Ports,
    _files: Files,
}

async fn cached() -> Cached {
    let files = Files::new();
    let mut config = files.config();
    config.log.partitions = 1;
    let ports = Ports::open(&config).await.expect("embedded ports open");
    let (ledger, faults) = (Arc::clone(&ports.ledger), Arc::new(LedgerFaults::default()));
    ledger.create_campaign(&campaign()).await.expect("creates");
    let faulty = FaultyLedger::wrap(Arc::clone(&ledger), &faults);
    let cache = Arc::new(CampaignCache::load(faulty, LAYOUT, ports.telemetry.clone()).await.expect("reads"));
    Cached { cache, ledger, faults, ports, _files: files }
}

impl Cached {
    fn refresh(&self) -> tokio::task::JoinHandle<()> {
        let cache = Arc::clone(&self.cache);
        tokio::spawn(async move { cache.refresh(GroupNo::FIRST).await.expect("reads") })
    }

    fn remaining(&self) -> u64 {
        self.cache.get(coupon()).expect("is cached").remaining()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_refresh_does_not_undo_a_newer_one() {
    let cached = cached().await;
    let held = cached.faults.hold_answers();
    let older = cached.refresh();
    eventually("the older refresh has read", async || cached.faults.has_held_answer().then_some(())).await;
    cached.faults.answer_at_once();
    cached.ledger.change_campaign(coupon(), CampaignChange::TopUp(5), None).await.expect("tops up");
    cached.refresh().await.expect("refreshes");
    assert_eq!(cached.remaining(), 15);
    drop(held);
    older.await.expect("refreshes");
    assert_eq!(cached.remaining(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_refresh_does_not_undo_a_settlement() {
    let cached = cached().await;
    let held = cached.faults.hold_answers();
    let older = cached.refresh();
    eventually("the older refresh has read", async || cached.faults.has_held_answer().then_some(())).await;
    cached.cache.begin_settlement(GroupNo::FIRST).await.set_remaining(coupon(), ShardNo(0), 7);
    drop(held);
    older.await.expect("refreshes");
    assert_eq!(cached.remaining(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_campaign_leaves_memory_and_metrics_for_good() {
    let cached = cached().await;
    let series = || String::from_utf8(cached.ports.telemetry.render()).expect("text").contains("coupon=\"104\"");
    assert!(series());
    let held = cached.faults.hold_answers();
    let older = cached.refresh();
    eventually("the older refresh has read", async || cached.faults.has_held_answer().then_some(())).await;
    cached.faults.answer_at_once();
    cached.ledger.change_campaign(coupon(), CampaignChange::Close, None).await.expect("closes");
    cached.refresh().await.expect("refreshes");
    drop(held);
    older.await.expect("refreshes");
    cached.cache.begin_settlement(GroupNo::FIRST).await.set_remaining(coupon(), ShardNo(0), 7);
    cached.ports.telemetry.emit(BatchSettled { steals: vec![(coupon(), 1)], ..BatchSettled::default() });
    assert!(cached.cache.live().is_empty() && !series());
    assert_eq!(cached.cache.get(coupon()).expect("is known").campaign.state, CampaignState::Closed);
    assert!(cached.cache.get(105_u64.try_into().expect("in range")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_past_its_closing_time_is_answered_closed_from_the_start() {
    let cached = cached().await;
    let over = NewCampaign { coupon_id: 105_u64.try_into().expect("in range"), closes_at_ms: Some(1), ..campaign() };
    cached.ledger.create_campaign(&over).await.expect("creates");
    cached.refresh().await.expect("refreshes");
    let loaded = CampaignCache::load(Arc::clone(&cached.ledger), LAYOUT, cached.ports.telemetry.clone()).await;
    let loaded = loaded.expect("reads");
    for cache in [&*cached.cache, &loaded] {
        assert_eq!(cache.live().len(), 1);
        let campaign = &cache.get(over.coupon_id).expect("is known").campaign;
        assert_eq!((campaign.state, campaign.policy_id), (CampaignState::Closed, over.policy_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_past_its_closing_time_leaves_a_process_that_has_the_ledger_to_itself() {
    let files = Files::new();
    let ledger = ledger::open(&files.config().ledger, 12).await.expect("opens");
    let closes_at_ms = now_ms() + 1_000;
    let closing = NewCampaign {
        coupon_id: 105_u64.try_into().expect("in range"),
        closes_at_ms: Some(closes_at_ms),
        ..campaign()
    };
    for new in [campaign(), closing] {
        ledger.create_campaign(&new).await.expect("creates");
    }
    ledger.close().await;
    drop(ledger);
    let faults = Arc::new(LedgerFaults::default());
    let held = faults.hold_answers();
    let replace = |ports| replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
    let system = Fixture::with(files, |_| {}, replace).await;
    eventually("the stock is read", async || faults.has_held_answer().then_some(())).await;
    eventually("the campaign is over", async || (now_ms() > closes_at_ms).then_some(())).await;
    drop(held);
    let has_left = async || (!system.metrics().await.contains("coupon=\"105\"")).then_some(());
    eventually("the campaign leaves", has_left).await;
    assert!(system.metrics().await.contains("coupon=\"104\""));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_that_another_process_settled_and_the_shards_that_it_changed_are_seen() {
    let cached = cached().await;
    let mut transaction = cached.ledger.begin(PartitionNo(0)).await.expect("begins");
    let take = [StockDecrement { coupon_id: coupon(), shard_no: ShardNo(0), records: 4 }];
    transaction.take_stock(&take).await.expect("takes");
    transaction.commit().await.expect("commits");
    cached.refresh().await.expect("refreshes");
    assert_eq!(cached.remaining(), 6);
    cached.ledger.change_campaign(coupon(), CampaignChange::Reshard(3), None).await.expect("reshards");
    cached.refresh().await.expect("refreshes");
    let shards = &cached.cache.get(coupon()).expect("is cached").shards;
    assert_eq!(shards.iter().map(CachedShard::remaining).collect::<Vec<_>>(), [2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_removed_leaves_the_metrics() {
    let cached = cached().await;
    let series = |shard: u32| {
        let metrics = String::from_utf8(cached.ports.telemetry.render()).expect("text");
        metrics.contains(&format!("coupon=\"104\",shard=\"{shard}\""))
    };
    for (shards, has_third) in [(3, true), (2, false)] {
        cached.ledger.change_campaign(coupon(), CampaignChange::Reshard(shards), None).await.expect("reshards");
        cached.refresh().await.expect("refreshes");
        assert_eq!((series(0), series(2)), (true, has_third), "{shards} shards");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_campaigns_the_requested_ones_are_read_first_and_the_others_in_turn() {
    let cached = cached().await;
    let coupons: Vec<CouponId> = (1_001..=1_600_u64).map(|id| id.try_into().expect("in range")).collect();
    for &coupon_id in &coupons {
        cached.ledger.create_campaign(&NewCampaign { coupon_id, ..campaign() }).await.expect("creates");
    }
    cached.cache.refresh(GroupNo::FIRST).await.expect("refreshes");
    let take = |&coupon_id: &CouponId| StockDecrement { coupon_id, shard_no: ShardNo(0), records: 4 };
    let take: Vec<StockDecrement> = coupons.iter().map(take).collect();
    let mut transaction = cached.ledger.begin(PartitionNo(0)).await.expect("begins");
    transaction.take_stock(&take).await.expect("takes");
    transaction.commit().await.expect("commits");
    let is_read = |coupon: &&CouponId| cached.cache.get(**coupon).is_some_and(|cached| cached.remaining() == 6);
    let requested = &coupons[..100];
    for &coupon in requested {
        cached.cache.get(coupon).expect("is cached").note_request();
    }
    cached.cache.refresh(GroupNo::FIRST).await.expect("refreshes");
    assert_eq!(requested.iter().filter(is_read).count(), 100);
    let read = coupons.iter().filter(is_read).count();
    assert!((100..=356).contains(&read), "{read} campaigns");
    for _ in 0..2 {
        cached.cache.refresh(GroupNo::FIRST).await.expect("refreshes");
    }
    assert_eq!(coupons.iter().filter(is_read).count(), coupons.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_appended_twice_is_no_longer_unsettled_once_both_records_are_settled() {
    let mut cached = cached().await;
    for background in std::mem::take(&mut cached.ports.background) {
        tokio::spawn(background.run);
    }
    let user: u64 = 1;
    let body = crate::harness::payload(user);
    let terms = serde_json::json!({ "typeSnapshot": body["typeSnapshot"] });
    let request = IssueRequest {
        user_id: user.try_into().expect("in range"),
        coupon_id: coupon(),
        policy_id: 21_u64.try_into().expect("in range"),
        terms: serde_json::from_value(terms).expect("terms"),
    };
    let request_id = RequestId::new();
    let accepted = Accepted {
        request_id,
        arrived_at_ms: 1,
        shard_no: ShardNo(0),
        generation: 1,
        arm: Arm::Active,
        fingerprint: None,
        campaign_counts: CampaignCounts::default(),
        request,
    };
    for _ in 0..2 {
        cached.cache.get(coupon()).expect("is cached").shard(ShardNo(0)).expect("exists").add_unsettled().keep();
        let headers = Headers { request_id: Some(request_id), ..Headers::default() };
        let record = Record { key: "104:0".to_owned(), headers, value: accepted.encode() };
        cached.ports.log.append(PartitionNo(0), record).expect("has room").await.expect("is durable");
    }
    let progress = Arc::new(Progress::new(vec![0]));
    let settlement = Settlement {
        log: Arc::clone(&cached.ports.log),
        ledger: Arc::clone(&cached.ledger),
        counters: Arc::clone(&cached.ports.counters),
        campaigns: Arc::clone(&cached.cache),
        progress: Arc::clone(&progress),
        telemetry: cached.ports.telemetry.clone(),
        layout: LAYOUT,
        batch_records_max: 1,
    };
    let stop = CancellationToken::new();
    let settling = tokio::spawn(settlement.run(stop.clone()));
    progress.settled(PartitionNo(0), 1).await;
    let unsettled = || cached.cache.get(coupon()).expect("is cached").shard(ShardNo(0)).expect("exists").unsettled();
    assert_eq!((unsettled(), cached.remaining()), (0, 9));
    stop.cancel();
    settling.await.expect("ends").expect("in good order");
}
