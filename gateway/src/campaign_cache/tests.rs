use super::*;
use crate::ledger::sqlite::Sqlite;

#[tokio::test]
async fn the_read_that_found_a_coupon_sold_out_is_forgotten_with_its_campaign() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    let ledger = Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens");
    let cache = CampaignCache::load(Arc::new(ledger), GroupLayout::new(1, 1), Telemetry::new()).await.expect("reads");
    let new = NewCampaign {
        coupon_id: 104_u64.try_into().expect("in range"),
        policy_id: 21_u64.try_into().expect("in range"),
        total: 0,
        shards: 1,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    };
    cache.create(&new, None).await.expect("creates");
    let reads = &cache.group(GroupNo::FIRST).stock_reads;
    let read = cache.read_is_sold_out(GroupNo::FIRST, new.coupon_id);
    assert!(reads.is_sold_out(new.coupon_id, read).await.expect("reads"));
    assert!(reads.knows(new.coupon_id), "until its campaign is over");
    cache.change(new.coupon_id, CampaignChange::Close, None).await.expect("closes");
    assert!(!reads.knows(new.coupon_id));
}
