//! What an audit reads, and what a recount keeps from other calls.

use std::sync::Arc;

use super::*;
use crate::ledger::contract::store_audited;

#[tokio::test]
async fn an_audit_reads_no_outcome() {
    let (ledger, database) = fresh().await;
    let audited = store_audited(&ledger).await;
    database.raw().await.execute("RENAME TABLE issue_outcome TO hidden").await.expect("renames");
    assert_eq!(ledger.audit(coupon()).await.expect("reads"), Some(audited));
    ledger.recount(coupon()).await.expect_err("a recount reads them");
}

#[tokio::test]
async fn recounts_that_take_long_keep_no_other_call_waiting() {
    let (ledger, database) = fresh().await;
    store_audited(&ledger).await;
    let mut slow = database.raw().await;
    slow.execute("LOCK TABLES issue_outcome WRITE").await.expect("locks");
    let ledger = Arc::new(ledger);
    let recounts = (0..20).map(|_| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move { ledger.recount(coupon()).await })
    });
    let recounts: Vec<_> = recounts.collect();
    let waiting = "SELECT count(*) FROM information_schema.processlist
                   WHERE db = DATABASE() AND state LIKE 'Waiting for table%lock'";
    let begins = async || {
        let mut other = database.raw().await;
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut other).await.expect("reads") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), begins()).await.expect("a recount waits for the table");
    let others = async {
        ledger.audit(coupon()).await.expect("reads").expect("exists");
        ledger.campaign_changes(GroupNo::FIRST, 0).await.expect("reads");
        ledger.change_campaign(coupon(), CampaignChange::TopUp(5), None).await.expect("tops up");
        ledger.next_offsets(GroupNo::FIRST).await.expect("reads");
    };
    tokio::time::timeout(Duration::from_secs(10), others).await.expect("no call waits for the recounts");
    assert!(recounts.iter().all(|recount| !recount.is_finished()));
    slow.execute("UNLOCK TABLES").await.expect("unlocks");
    for recount in recounts {
        recount.await.expect("does not panic").expect("reads").expect("exists");
    }
}
