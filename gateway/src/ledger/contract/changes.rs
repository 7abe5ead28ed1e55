//! What a process reads again and again to follow the others.

use std::collections::{BTreeMap, HashMap};

use super::{PARTITION, begin, campaign, coupon};
use crate::coupon::{CampaignChange, GroupNo, PartitionNo, ShardNo};
use crate::ledger::{Claim, Ledger, StockDecrement};

pub(crate) async fn a_reader_misses_no_change_after_the_version_that_it_read(ledger: &dyn Ledger) {
    let before = ledger.campaign_changes(GroupNo::FIRST, 0).await.expect("reads");
    assert_eq!((before.campaigns, before.closed), (vec![], vec![]));
    let mut version = before.version;
    let mut read = async || {
        let changes = ledger.campaign_changes(GroupNo::FIRST, version).await.expect("reads");
        assert!(changes.version >= version);
        version = changes.version;
        (changes.campaigns, changes.closed)
    };
    let created = ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    assert_eq!(read().await, (vec![created.clone()], vec![]));
    assert_eq!(read().await, (vec![], vec![]));
    for change in [CampaignChange::TopUp(5), CampaignChange::Reshard(3), CampaignChange::Pause] {
        let changed = ledger.change_campaign(coupon(), change, None).await.expect("changes");
        assert_eq!(read().await, (vec![changed], vec![]), "{change:?}");
    }
    assert_eq!(ledger.campaign_changes(GroupNo::FIRST, 0).await.expect("reads").campaigns.len(), 1);
    ledger.change_campaign(coupon(), CampaignChange::Close, None).await.expect("closes");
    assert_eq!(read().await, (vec![], vec![(coupon(), created.policy_id)]));
}

pub(crate) async fn a_settlement_changes_the_stock_but_no_version(ledger: &dyn Ledger) {
    let created = ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let version = ledger.campaign_changes(GroupNo::FIRST, 0).await.expect("reads").version;
    let unknown = 105_u64.try_into().expect("in range");
    let stock = ledger.stock(GroupNo::FIRST, &[coupon(), unknown]).await.expect("reads");
    assert_eq!(stock, HashMap::from([(coupon(), created.shards)]));
    let mut transaction = begin(ledger).await;
    let take = [StockDecrement { coupon_id: coupon(), shard_no: ShardNo(1), records: 5 }];
    transaction.take_stock(&take).await.expect("takes");
    transaction.commit().await.expect("commits");
    let mut stock = ledger.stock(GroupNo::FIRST, &[coupon()]).await.expect("reads").remove(&coupon()).expect("exists");
    stock.sort_by_key(|shard| shard.shard_no);
    assert_eq!(stock.iter().map(|shard| shard.remaining).collect::<Vec<_>>(), [5, 0]);
    let changes = ledger.campaign_changes(GroupNo::FIRST, version).await.expect("reads");
    assert_eq!((changes.version, changes.campaigns), (version, vec![]));
}

pub(crate) async fn the_offsets_of_all_claimed_partitions_are_read_at_once(ledger: &dyn Ledger) {
    assert_eq!(ledger.next_offsets(GroupNo::FIRST).await.expect("reads"), BTreeMap::new());
    ledger.claim(PartitionNo(0)).await.expect("claims");
    let claim = ledger.claim(PARTITION).await.expect("claims");
    let mut transaction = begin(ledger).await;
    transaction.advance(claim, Claim { next_offset: 4, ..claim }).await.expect("advances");
    transaction.commit().await.expect("commits");
    assert_eq!(
        ledger.next_offsets(GroupNo::FIRST).await.expect("reads"),
        BTreeMap::from([(PartitionNo(0), 0), (PARTITION, 4)])
    );
}
