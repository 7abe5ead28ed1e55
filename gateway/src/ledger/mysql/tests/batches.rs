//! Settlements that meet: what they wait for, and what they cost.

use std::collections::BTreeMap;

use super::*;
use crate::coupon::{RequestId, SettledRequest, UserId};
use crate::ledger::mysql::transaction::MysqlTransaction;
use crate::ledger::{LockedStock, Shards, StockDecrement};

fn some(shards: &[u32]) -> BTreeMap<CouponId, Shards> {
    [(coupon(), Shards::Some(shards.iter().copied().map(ShardNo).collect()))].into()
}

fn all() -> BTreeMap<CouponId, Shards> {
    [(coupon(), Shards::All)].into()
}

async fn at_once<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), call).await.expect("does not wait")
}

/// Empties all shards but those beyond `shards`.
async fn sell(ledger: &Mysql, shards: u32) {
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    let stock = transaction.lock_stock(&all()).await.expect("locks");
    let decrement = |(shard_no, records): (&ShardNo, &u64)| StockDecrement {
        coupon_id: coupon(),
        shard_no: *shard_no,
        records: *records,
    };
    let sold: Vec<_> = stock[&coupon()].shards.iter().filter(|(shard, _)| shard.0 < shards).map(decrement).collect();
    transaction.take_stock(&sold).await.expect("takes");
    transaction.commit().await.expect("commits");
}

#[tokio::test]
async fn one_user_settled_by_two_partitions_is_granted_once_and_the_loser_is_transient() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let mut first = ledger.begin(PARTITION).await.expect("begins");
    first.insert_outcomes(&[grant(1, 1)]).await.expect("inserts");
    let second = async {
        let mut second = ledger.begin(PARTITION).await.expect("begins");
        second.insert_outcomes(&[grant(2, 1)]).await
    };
    let first = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.commit().await
    };
    let (first, second) = tokio::join!(first, second);
    first.expect("commits");
    assert!(is_transient(&second), "{second:?}");
}

#[tokio::test]
async fn a_deadlock_is_transient_and_one_transaction_commits() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let both_hold_one = tokio::sync::Barrier::new(2);
    let against_the_order = async |first: u32, second: u32| {
        let mut transaction = ledger.begin(PARTITION).await?;
        transaction.lock_stock(&some(&[first])).await?;
        both_hold_one.wait().await;
        transaction.lock_stock(&some(&[second])).await?;
        transaction.commit().await
    };
    let (one, other) = tokio::join!(against_the_order(0, 1), against_the_order(1, 0));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert!(is_transient(&one) || is_transient(&other), "{one:?} {other:?}");
}

#[tokio::test]
async fn different_shards_of_a_coupon_are_locked_concurrently() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    let mut held = Vec::new();
    for shard in 0..4 {
        let mut transaction = ledger.begin(PARTITION).await.expect("begins");
        at_once(transaction.lock_stock(&some(&[shard]))).await.expect("locks");
        held.push(transaction);
    }
}

#[tokio::test]
async fn settlements_of_a_sold_out_coupon_do_not_wait_for_each_other() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    sell(&ledger, 4).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut transaction = ledger.begin(PARTITION).await.expect("begins");
        let stock = at_once(transaction.lock_stock(&all())).await.expect("locks");
        let shards = (0..4).map(|shard| (ShardNo(shard), 0)).collect();
        assert_eq!(stock, [(coupon(), LockedStock { per_user_limit: 1, shards, complete: true })].into());
        held.push(transaction);
    }
}

#[tokio::test]
async fn a_top_up_waits_for_a_settlement_that_found_the_coupon_sold_out() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    sell(&ledger, 4).await;
    for change in [CampaignChange::TopUp(8), CampaignChange::Reshard(2)] {
        let mut settlement = ledger.begin(PARTITION).await.expect("begins");
        settlement.lock_stock(&all()).await.expect("locks");
        let mut change = Box::pin(ledger.change_campaign(coupon(), change, None));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut change).await;
        assert!(early.is_err(), "{early:?}");
        settlement.commit().await.expect("commits");
        assert_eq!(change.await.expect("changes").remaining(), 8);
    }
}

#[tokio::test]
async fn stock_that_another_settlement_takes_but_does_not_commit_is_not_sold_out() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(4, 2)).await.expect("creates");
    sell(&ledger, 1).await;
    let mut taker = ledger.begin(PARTITION).await.expect("begins");
    taker.lock_stock(&some(&[1])).await.expect("locks");
    let rest = StockDecrement { coupon_id: coupon(), shard_no: ShardNo(1), records: 2 };
    taker.take_stock(&[rest]).await.expect("takes");
    let mut other = ledger.begin(PARTITION).await.expect("begins");
    let rolled_back = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(taker);
    };
    let wanted = all();
    let (stock, ()) = tokio::join!(other.lock_stock(&wanted), rolled_back);
    assert_eq!(stock.expect("locks")[&coupon()].shards, [(ShardNo(0), 0), (ShardNo(1), 2)].into());
}

/// One connection, so that the statements of a batch can be counted.
struct Counted {
    pool: MySqlPool,
    ledger: Mysql,
}

impl Counted {
    async fn statements(&self) -> u64 {
        let questions = sqlx::query("SHOW SESSION STATUS LIKE 'Questions'").fetch_one(&self.pool).await;
        questions.expect("reads").get::<String, _>("Value").parse().expect("a number")
    }

    /// Settles one request of each coupon in one transaction. Returns how many statements that took.
    async fn settle(&self, coupons: u64, shards: impl Fn() -> Shards) -> u64 {
        let coupons: Vec<CouponId> = (1..=coupons).map(|coupon| coupon.try_into().expect("in range")).collect();
        let before = self.statements().await;
        let begun = MysqlTransaction::begin(&self.pool, &self.ledger.known_terms).await.expect("begins");
        let mut transaction: Box<dyn Transaction> = Box::new(begun);
        let settled: Vec<_> = coupons.iter().map(|coupon| settled_for(*coupon)).collect();
        let names: Vec<_> = settled.iter().map(|settled| settled.request_id).collect();
        let holders: Vec<_> = coupons.iter().map(|coupon| (*coupon, user())).collect();
        let takes: Vec<_> = coupons
            .iter()
            .map(|coupon_id| StockDecrement { coupon_id: *coupon_id, shard_no: ShardNo(0), records: 1 })
            .collect();
        let wanted = coupons.iter().map(|coupon| (*coupon, shards())).collect();
        assert_eq!(transaction.replays(&names).await.expect("reads").len(), 0);
        assert_eq!(transaction.lock_stock(&wanted).await.expect("locks").len(), coupons.len());
        assert_eq!(transaction.grants(&holders).await.expect("reads").len(), 0);
        transaction.take_stock(&takes).await.expect("takes");
        transaction.insert_outcomes(&settled).await.expect("inserts");
        drop(transaction);
        self.statements().await - before
    }
}

fn user() -> UserId {
    1_u64.try_into().expect("in range")
}

fn settled_for(coupon_id: CouponId) -> Settled {
    let settled = grant(1, 1);
    let subject = settled.subject.map(|subject| SettledRequest { coupon_id, ..subject });
    Settled { request_id: RequestId::new(), subject, ..settled }
}

#[tokio::test]
async fn a_batch_of_500_coupons_takes_as_many_statements_as_a_batch_of_one() {
    let (ledger, database) = fresh().await;
    for number in 1..=500_u64 {
        let new = NewCampaign { coupon_id: number.try_into().expect("in range"), ..campaign(8, 4) };
        ledger.create_campaign(&new).await.expect("creates");
    }
    let server = Server::parse(&options_of(&database.0)).expect("is valid");
    let pool = server.pool(1, IsolationLevel::ReadCommitted, Transactions::Some);
    let counted = Counted { pool, ledger };
    let picked = || Shards::Some([ShardNo(0)].into());
    for shards in [&picked as &dyn Fn() -> Shards, &|| Shards::All] {
        let (one, many) = (counted.settle(1, shards).await, counted.settle(500, shards).await);
        assert_eq!(one, many);
    }
}

#[tokio::test]
async fn each_distinct_set_of_terms_is_stored_once() {
    let (ledger, database) = fresh().await;
    ledger.create_campaign(&campaign(1000, 1)).await.expect("creates");
    for first in [1, 101] {
        let settled: Vec<_> = (first..first + 100).map(|name| grant(name, name.into())).collect();
        let mut transaction = ledger.begin(PARTITION).await.expect("begins");
        transaction.insert_outcomes(&settled).await.expect("inserts");
        transaction.commit().await.expect("commits");
    }
    let rows = sqlx::query("SELECT terms FROM issue_terms").fetch_all(&mut database.raw().await).await.expect("reads");
    assert_eq!(rows.len(), 1);
    // Another process does not know them, and a rolled-back transaction stored none.
    for _ in 0..2 {
        let other = database.open().await;
        let mut transaction = other.begin(PARTITION).await.expect("begins");
        transaction.insert_outcomes(&[grant(250, 250)]).await.expect("inserts");
    }
}

#[tokio::test]
async fn long_terms_are_split_over_statements_and_read_back_unchanged() {
    let (ledger, database) = fresh().await;
    ledger.create_campaign(&campaign(1000, 1)).await.expect("creates");
    let settled: Vec<_> = (1..=200)
        .map(|name| {
            let mut settled = grant(name, name.into());
            let terms = &mut settled.subject.as_mut().expect("a subject").terms;
            terms.type_snapshot = format!("{name}{}", "한'\"\\\u{1F39F}\n".repeat(2000));
            settled
        })
        .collect();
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    transaction.insert_outcomes(&settled).await.expect("inserts");
    transaction.commit().await.expect("commits");
    let read = "SELECT known.terms FROM issue_outcome JOIN issue_terms AS known ON known.digest = terms_digest \
                 ORDER BY log_offset";
    let rows = sqlx::query(read).fetch_all(&mut database.raw().await).await.expect("reads");
    let read: Vec<_> = rows.iter().map(|row| row.get::<String, _>("terms")).collect();
    let terms = |settled: &Settled| serde_json::to_string(&settled.subject.as_ref().expect("a subject").terms);
    assert_eq!(read, settled.iter().map(|settled| terms(settled).expect("JSON")).collect::<Vec<_>>());
}

#[tokio::test]
async fn stock_is_conserved_under_concurrent_settlements_and_changes() {
    const EACH: u64 = 60;
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10_000, 8)).await.expect("creates");
    let settle = async |shard: u32| {
        let mut taken = 0;
        while taken < EACH {
            let attempt = async {
                let mut transaction = ledger.begin(PARTITION).await?;
                let wanted = if taken.is_multiple_of(3) { all() } else { some(&[shard]) };
                transaction.lock_stock(&wanted).await?;
                let take = StockDecrement { coupon_id: coupon(), shard_no: ShardNo(shard), records: 1 };
                transaction.take_stock(&[take]).await?;
                transaction.commit().await
            };
            match attempt.await {
                Ok(()) => taken += 1,
                Err(error) => assert!(matches!(error, LedgerError::Transient { .. }), "{error}"),
            }
        }
    };
    let change = async {
        for round in 0..20 {
            let change =
                if round % 2 == 0 { CampaignChange::TopUp(100) } else { CampaignChange::Reshard(4 + round / 2) };
            ledger.change_campaign(coupon(), change, None).await.expect("changes");
        }
    };
    tokio::join!(settle(0), settle(1), settle(2), settle(3), change);
    let campaign = ledger.campaign(coupon()).await.expect("reads").expect("exists");
    assert_eq!((campaign.total, campaign.remaining()), (11_000, 11_000 - 4 * EACH));
}
