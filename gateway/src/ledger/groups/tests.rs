use super::*;
use crate::coupon::{Outcome, Reason, Settled};
use crate::ledger::contract::{contract_tests, settled};
use crate::ledger::sqlite::Sqlite;

const SECOND: GroupNo = GroupNo(1);
/// By the hashes of their numbers.
const OF_FIRST: u64 = 104;
const OF_SECOND: u64 = 7;
const PARTITIONS_EACH: u32 = 2;

fn coupon(number: u64) -> CouponId {
    number.try_into().expect("in range")
}

fn campaign(number: u64) -> NewCampaign {
    NewCampaign {
        coupon_id: coupon(number),
        policy_id: 21_u64.try_into().expect("in range"),
        total: 10,
        shards: 2,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    }
}

/// The databases of two groups.
struct Databases(Vec<Arc<dyn Ledger>>, #[expect(dead_code, reason = "keeps the files")] tempfile::TempDir);

impl Databases {
    async fn create() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut databases: Vec<Arc<dyn Ledger>> = Vec::new();
        for name in ["one.db", "two.db"] {
            let path = folder.path().join(name);
            databases.push(Arc::new(Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens")));
        }
        Self(databases, folder)
    }

    /// A ledger on these databases, in this order. No group has joined but the first.
    async fn open(&self, order: &[usize], partitions_each: u32) -> Groups {
        let openers = order.iter().map(|index| {
            let database = Arc::clone(&self.0[*index]);
            let opener: Opener = Box::new(move || Box::pin(std::future::ready(Ok(Arc::clone(&database)))));
            opener
        });
        Groups::open(openers.collect(), partitions_each).await.expect("opens")
    }

    /// A ledger on both, as every start opens it.
    async fn start(&self) -> Groups {
        let ledger = self.open(&[0, 1], PARTITIONS_EACH).await;
        ledger.propose_log(LogId::random()).await.expect("stores");
        for group in [GroupNo::FIRST, SECOND] {
            ledger.join(group).await.expect("is the database of its group");
        }
        ledger
    }
}

/// For the contract suite, in which all coupons and partitions are of one group.
async fn first_of_two() -> (Groups, Databases) {
    let databases = Databases::create().await;
    let ledger = databases.open(&[0, 1], 16).await.open_unverified().await.expect("opens");
    for number in [7, 8, 9, 104, 105] {
        ledger.assign_group(coupon(number), GroupNo::FIRST).await.expect("assigns");
    }
    (ledger, databases)
}

contract_tests!(first_of_two_groups => first_of_two().await);

#[tokio::test]
async fn each_call_reaches_the_database_of_its_group_only() {
    let databases = Databases::create().await;
    let ledger = databases.start().await;
    for (number, group) in [(OF_FIRST, GroupNo::FIRST), (OF_SECOND, SECOND)] {
        let created = ledger.create_campaign(&campaign(number)).await.expect("creates");
        assert_eq!(created.group, group);
        assert_eq!(ledger.campaign(coupon(number)).await.expect("reads"), Some(created.clone()));
        assert_eq!(ledger.campaigns(group).await.expect("reads"), std::slice::from_ref(&created));
        assert_eq!(ledger.campaign_changes(group, 0).await.expect("reads").campaigns, [created]);
        let own = &databases.0[group.index()];
        assert!(own.campaign(coupon(number)).await.expect("reads").is_some());
    }
    let claim = ledger.claim(PartitionNo(3)).await.expect("claims");
    let unreadable = settled(1, 1, Outcome::Rejected(Reason::Invalid));
    let rows = [Settled { subject: None, partition: PartitionNo(3), ..unreadable }];
    let mut transaction = ledger.begin(PartitionNo(3)).await.expect("begins");
    transaction.insert_outcomes(&rows).await.expect("inserts");
    transaction.advance(claim, Claim { next_offset: 1, ..claim }).await.expect("advances");
    transaction.commit().await.expect("commits");
    let request = rows[0].request_id;
    assert_eq!(ledger.next_offsets(SECOND).await.expect("reads"), [(PartitionNo(3), 1)].into());
    assert!(ledger.next_offsets(GroupNo::FIRST).await.expect("reads").is_empty());
    assert!(ledger.outcome(SECOND, request).await.expect("reads").is_some());
    assert!(ledger.outcome(GroupNo::FIRST, request).await.expect("reads").is_none());
    assert_eq!(ledger.rejections(PartitionNo(3), &[request]).await.expect("reads"), [request].into());
    assert!(ledger.claim(PartitionNo(4)).await.is_err(), "no group has it");
}

#[tokio::test]
async fn a_coupon_gets_one_group_however_many_create_its_campaign_at_once() {
    let databases = Databases::create().await;
    let (one, other) = (databases.start().await, databases.start().await);
    for number in 200..260 {
        let assigned =
            tokio::join!(one.assign_group(coupon(number), GroupNo::FIRST), other.assign_group(coupon(number), SECOND),);
        let (group, same) = (assigned.0.expect("assigns"), assigned.1.expect("assigns"));
        assert_eq!(group, same, "coupon {number}");
        let new = campaign(number);
        let created = tokio::join!(one.create_campaign(&new), other.create_campaign(&new));
        assert_eq!(created.0.expect("creates"), created.1.expect("exists"));
        let other_group = &databases.0[1 - group.index()];
        assert_eq!(other_group.campaign(coupon(number)).await.expect("reads"), None);
    }
}

#[tokio::test]
async fn a_campaign_that_was_created_before_there_were_groups_is_in_the_first_one() {
    let databases = Databases::create().await;
    databases.0[0].create_campaign(&campaign(OF_SECOND)).await.expect("creates");
    let ledger = databases.start().await;
    assert_eq!(ledger.group_of(coupon(OF_SECOND)).await.expect("reads"), Some(GroupNo::FIRST));
    assert_eq!(ledger.assign_group(coupon(OF_SECOND), SECOND).await.expect("reads"), GroupNo::FIRST);
    assert_eq!(ledger.create_campaign(&campaign(OF_SECOND)).await.expect("exists").group, GroupNo::FIRST);
    assert_eq!(ledger.group_of(coupon(OF_FIRST)).await.expect("reads"), None);
}

#[tokio::test]
async fn a_group_that_has_not_joined_fails_its_own_calls_only() {
    let databases = Databases::create().await;
    let ledger = databases.open(&[0, 1], PARTITIONS_EACH).await;
    ledger.join(GroupNo::FIRST).await.expect("joins");
    ledger.create_campaign(&campaign(OF_FIRST)).await.expect("creates");
    let refused = ledger.create_campaign(&campaign(OF_SECOND)).await.expect_err("is down").to_string();
    assert!(refused.contains("group 1 has not been reached yet"), "{refused}");
    assert_eq!(databases.0[0].group_of(coupon(OF_SECOND)).await.expect("reads"), None, "it may be created elsewhere");
    assert!(ledger.claim(PartitionNo(2)).await.is_err_and(|error| error.is_transient()));
    assert!(ledger.is_shared(), "only a server can be down");
    ledger.join(SECOND).await.expect("joins");
    ledger.create_campaign(&campaign(OF_SECOND)).await.expect("creates");
}

#[tokio::test]
async fn databases_in_another_order_or_without_one_are_refused() {
    let databases = Databases::create().await;
    databases.start().await;
    let refused = async |order: &[usize], partitions_each, group| {
        let ledger = databases.open(order, partitions_each).await;
        ledger.join(group).await.expect_err("is refused").to_string()
    };
    let error = refused(&[1, 0], PARTITIONS_EACH, GroupNo::FIRST).await;
    assert!(error.contains("at place 0 of the list, counted from 0, is the one of ledger group 1"), "{error}");
    let error = refused(&[0, 0], PARTITIONS_EACH, SECOND).await;
    assert!(error.contains("at place 1 of the list, counted from 0, is the one of ledger group 0"), "{error}");
    for alone in [0, 1] {
        let error = refused(&[alone], PARTITIONS_EACH, GroupNo::FIRST).await;
        assert!(error.contains("has 2 ledger groups, but the configuration has 1"), "{error}");
    }
    let error = refused(&[0, 1], 4, GroupNo::FIRST).await;
    assert!(error.contains("set log.partitions = 2"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_log_or_one_that_was_emptied_is_refused() {
    let (system, other) = (Databases::create().await, Databases::create().await);
    system.start().await;
    let stranger = Arc::clone(&other.0[1]);
    let mixed = Databases(vec![Arc::clone(&system.0[0]), stranger], tempfile::tempdir().expect("a folder"));
    let ledger = mixed.open(&[0, 1], PARTITIONS_EACH).await;
    let error = ledger.join(SECOND).await.expect_err("is empty").to_string();
    assert!(error.contains("the database of ledger group 1 is empty"), "{error}");
    other.start().await;
    let ledger = mixed.open(&[0, 1], PARTITIONS_EACH).await;
    let error = ledger.join(SECOND).await.expect_err("is of another log").to_string();
    assert!(error.contains("ledger group 1 settles the log"), "{error}");
}

#[tokio::test]
async fn partitions_that_an_earlier_version_settled_stay_with_their_group() {
    let databases = Databases::create().await;
    databases.0[0].claim(PartitionNo(5)).await.expect("claims");
    let error = databases.open(&[0, 1], 3).await.join(GroupNo::FIRST).await.expect_err("is refused").to_string();
    assert!(error.contains("ledger group 0 has settled partition 5"), "{error}");
    databases.open(&[0, 1], 6).await.join(GroupNo::FIRST).await.expect("joins");
}
