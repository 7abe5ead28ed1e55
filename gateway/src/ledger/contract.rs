//! One suite that every adapter passes: `contract_tests!(sqlite => open().await)`. The expression returns an empty
//! ledger and a guard that keeps its storage.

mod arm;
mod changes;
mod generations;
mod groups;
mod log_identity;
mod policy_versions;
mod retention;
mod rollouts;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{CampaignError, Claim, Ledger, LedgerError, LockedStock, Shards, StockDecrement, Transaction};
use crate::coupon::{
    Arm, Audit, CampaignChange, CampaignState, ChangeKey, CouponId, Fingerprint, GroupNo, NewCampaign, Outcome,
    PartitionNo, Reason, RequestId, Settled, SettledRequest, ShardNo, Terms, UserId,
};

pub(crate) use arm::*;
pub(crate) use changes::*;
pub(crate) use generations::*;
pub(crate) use groups::*;
pub(crate) use log_identity::*;
pub(crate) use policy_versions::*;
pub(crate) use retention::*;
pub(crate) use rollouts::*;

pub(crate) const PARTITION: PartitionNo = PartitionNo(3);

pub(crate) fn coupon() -> CouponId {
    104_u64.try_into().expect("in range")
}

fn user(number: u64) -> UserId {
    number.try_into().expect("in range")
}

pub(crate) fn campaign(total: u64, shards: u32) -> NewCampaign {
    NewCampaign {
        coupon_id: coupon(),
        policy_id: 21_u64.try_into().expect("in range"),
        total,
        shards,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: Some(5_000),
    }
}

pub(crate) fn settled(name: u8, user_no: u64, outcome: Outcome) -> Settled {
    Settled {
        request_id: RequestId::from([name; 16]),
        subject: Some(SettledRequest {
            coupon_id: coupon(),
            user_id: user(user_no),
            picked_shard: ShardNo(1),
            generation: 7,
            arm: Arm::Active,
            fingerprint: Some(Fingerprint(i64::MIN)),
            arrived_at_ms: 1,
            terms: Terms {
                type_snapshot: "FIXED".into(),
                discount_rate_snapshot: Some(10.0),
                discount_amount_snapshot: Some(1000),
                minimum_order_amount_snapshot: None,
                usage_period_snapshot: Some(30),
                expired_at: None,
            },
        }),
        outcome,
        partition: PARTITION,
        offset: name.into(),
        settled_at_ms: 2,
    }
}

fn issued(grant_no: u32) -> Outcome {
    Outcome::Issued { shard: ShardNo(0), grant_no }
}

async fn begin(ledger: &dyn Ledger) -> Box<dyn Transaction> {
    ledger.begin(PARTITION).await.expect("begins")
}

pub(crate) async fn creating_a_campaign_again_changes_nothing(ledger: &dyn Ledger) {
    let made = ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    let stock: Vec<u64> = made.shards.iter().map(|shard| shard.remaining).collect();
    assert_eq!(stock, [3, 3, 2, 2]);
    assert_eq!(ledger.create_campaign(&campaign(10, 4)).await.expect("exists"), made);
    let other = ledger.create_campaign(&campaign(11, 4)).await;
    assert!(matches!(other, Err(CampaignError::Exists(_))), "{other:?}");
    assert_eq!(ledger.campaign(coupon()).await.expect("reads"), Some(made.clone()));
    assert_eq!(ledger.campaigns(GroupNo::FIRST).await.expect("reads"), [made]);
}

pub(crate) async fn changes_conserve_stock_and_only_a_top_up_adds(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    let change = async |change| ledger.change_campaign(coupon(), change, None).await;
    assert_eq!(change(CampaignChange::Pause).await.expect("pauses").state, CampaignState::Paused);
    assert_eq!(change(CampaignChange::Resume).await.expect("resumes").state, CampaignState::Open);
    let topped = change(CampaignChange::TopUp(5)).await.expect("tops up");
    assert_eq!((topped.total, topped.remaining()), (15, 15));
    let resharded = change(CampaignChange::Reshard(7)).await.expect("reshards");
    assert_eq!((resharded.shards.len(), resharded.remaining()), (7, 15));
    let fewer = change(CampaignChange::Reshard(2)).await.expect("reshards");
    assert_eq!((fewer.shards.len(), fewer.remaining()), (2, 15));
    assert!(matches!(change(CampaignChange::TopUp(u64::MAX)).await, Err(CampaignError::TotalTooLarge)));
    assert_eq!(ledger.campaign(coupon()).await.expect("reads"), Some(fewer));
}

pub(crate) async fn a_change_under_a_key_is_applied_once(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    let change = async |key: &[u8], change| ledger.change_campaign(coupon(), change, Some(ChangeKey::of(key))).await;
    let five = CampaignChange::TopUp(5);
    let (one, other) = tokio::join!(change(b"a", five), change(b"a", five));
    assert_eq!((one.expect("tops up").total, other.expect("tops up").total), (15, 15));
    for reused in [CampaignChange::TopUp(6), CampaignChange::Reshard(5)] {
        let refused = change(b"a", reused).await;
        assert!(matches!(refused, Err(CampaignError::KeyReused)), "{refused:?}");
    }
    assert_eq!(change(b"b", five).await.expect("tops up").total, 20);
    assert!(matches!(change(b"c", CampaignChange::TopUp(u64::MAX)).await, Err(CampaignError::TotalTooLarge)));
    assert_eq!(change(b"c", CampaignChange::Close).await.expect("the key is free").total, 20);
    let closed = change(b"a", five).await.expect("it was applied before");
    assert_eq!((closed.total, closed.remaining(), closed.state), (20, 20, CampaignState::Closed));
}

pub(crate) async fn a_closed_campaign_stays_closed(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    for _ in 0..2 {
        let closed = ledger.change_campaign(coupon(), CampaignChange::Close, None).await.expect("closes");
        assert_eq!(closed.state, CampaignState::Closed);
    }
    let resumed = ledger.change_campaign(coupon(), CampaignChange::Resume, None).await;
    assert!(matches!(resumed, Err(CampaignError::Closed(_))), "{resumed:?}");
}

pub(crate) async fn an_unknown_coupon_has_no_campaign(ledger: &dyn Ledger) {
    assert_eq!(ledger.campaign(coupon()).await.expect("reads"), None);
    assert_eq!(ledger.audit(coupon()).await.expect("reads"), None);
    assert_eq!(ledger.recount(coupon()).await.expect("reads"), None);
    assert_eq!(ledger.outcomes_deleted(coupon()).await.expect("reads"), None);
    let changed = ledger.change_campaign(coupon(), CampaignChange::Pause, None).await;
    assert!(matches!(changed, Err(CampaignError::NotFound(_))), "{changed:?}");
}

pub(crate) async fn a_committed_settlement_is_visible_completely(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let claim = ledger.claim(PARTITION).await.expect("claims");
    let mut transaction = begin(ledger).await;
    let row = transaction.lock_offset(PARTITION).await.expect("locks");
    assert_eq!((row.epoch, row.next_offset), (claim.epoch, 0));
    let stock = transaction.lock_stock(&[(coupon(), Shards::All)].into()).await.expect("locks");
    assert_eq!(stock, [(coupon(), stock_of(&[(0, 5), (1, 5)], true))].into());
    transaction
        .take_stock(&[StockDecrement { coupon_id: coupon(), shard_no: ShardNo(0), records: 2 }])
        .await
        .expect("takes");
    let unreadable = Settled { subject: None, ..settled(4, 1, Outcome::Rejected(Reason::Invalid)) };
    let rows = [
        settled(1, 1, issued(1)),
        settled(2, 2, issued(1)),
        settled(3, 1, Outcome::Rejected(Reason::UserLimit)),
        unreadable,
    ];
    transaction.insert_outcomes(&rows).await.expect("inserts");
    transaction.advance(claim, Claim { next_offset: 5, released_offset: 2, ..claim }).await.expect("advances");
    transaction.commit().await.expect("commits");

    assert_eq!(ledger.next_offset(PARTITION).await.expect("reads"), 5);
    let audit = ledger.audit(coupon()).await.expect("reads").expect("exists");
    assert!(audit.balanced, "{audit:?}");
    assert_eq!((audit.granted, audit.remaining, audit.user_limit, audit.users), (2, 8, 1, 2));
    assert_eq!((audit.sold_out, audit.invalid), (0, 0));
    assert_eq!((audit.shards[0].granted, audit.shards[1].picked), (2, 3));
    let recorded = ledger.outcome(GroupNo::FIRST, rows[0].request_id).await.expect("reads").expect("exists");
    assert_eq!(recorded.outcome, issued(1));
    assert_eq!((recorded.partition, recorded.offset, recorded.settled_at_ms), (PARTITION, 1, 2));
    let invalid = ledger.outcome(GroupNo::FIRST, rows[3].request_id).await.expect("reads").expect("exists");
    assert_eq!((invalid.outcome, invalid.coupon_id), (Outcome::Rejected(Reason::Invalid), None));
    assert_eq!(ledger.outcome(GroupNo::FIRST, RequestId::from([9; 16])).await.expect("reads"), None);
    for request in [rows[0].request_id, rows[2].request_id] {
        let under_key = ledger.outcome_under_key(GroupNo::FIRST, request, Fingerprint(i64::MIN)).await.expect("reads");
        assert_eq!(under_key.expect("exists").0, request, "although others have its key");
    }
    assert_eq!(
        ledger.outcome_under_key(GroupNo::FIRST, RequestId::from([9; 16]), Fingerprint(1)).await.expect("reads"),
        None
    );

    let mut transaction = begin(ledger).await;
    let names: Vec<_> = (1..=9).map(|name| RequestId::from([name; 16])).collect();
    assert_eq!(transaction.replays(&names).await.expect("reads"), BTreeSet::from_iter(names[..4].iter().copied()));
    let rejected = BTreeSet::from_iter(names[2..4].iter().copied());
    assert_eq!(ledger.rejections(PARTITION, &names).await.expect("reads"), rejected);
    let holders = [1, 2, 3].map(|number| (coupon(), user(number)));
    let grants = transaction.grants(&holders).await.expect("reads");
    assert_eq!(grants, HashMap::from([(holders[0], 1), (holders[1], 1)]));
}

pub(crate) async fn a_dropped_settlement_is_rolled_back(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    let claim = ledger.claim(PARTITION).await.expect("claims");
    let mut transaction = begin(ledger).await;
    transaction
        .take_stock(&[StockDecrement { coupon_id: coupon(), shard_no: ShardNo(0), records: 2 }])
        .await
        .expect("takes");
    transaction.insert_outcomes(&[settled(1, 1, issued(1))]).await.expect("inserts");
    transaction.advance(claim, Claim { next_offset: 1, ..claim }).await.expect("advances");
    drop(transaction);
    assert_eq!(ledger.next_offset(PARTITION).await.expect("reads"), 0);
    assert_eq!(ledger.audit(coupon()).await.expect("reads").expect("exists").remaining, 10);
}

pub(crate) async fn taking_more_than_a_shard_has_fails(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(2, 1)).await.expect("creates");
    let mut transaction = begin(ledger).await;
    let take = |shard, records| [StockDecrement { coupon_id: coupon(), shard_no: ShardNo(shard), records }];
    let taken = transaction.take_stock(&take(0, 3)).await;
    assert!(matches!(taken, Err(LedgerError::Transient { .. })), "{taken:?}");
    let taken = transaction.take_stock(&take(9, 1)).await;
    assert!(matches!(taken, Err(LedgerError::Transient { .. })), "{taken:?}");
}

pub(crate) async fn a_second_outcome_or_grant_number_is_rejected_as_transient(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    for second in [settled(1, 2, Outcome::Rejected(Reason::SoldOut)), settled(2, 1, issued(1))] {
        let mut transaction = begin(ledger).await;
        transaction.insert_outcomes(&[settled(1, 1, issued(1))]).await.expect("inserts");
        let refused = transaction.insert_outcomes(&[second]).await;
        assert!(matches!(refused, Err(LedgerError::Transient { .. })), "{refused:?}");
    }
}

pub(crate) async fn the_newest_claim_fences_earlier_claims(ledger: &dyn Ledger) {
    let first = ledger.claim(PARTITION).await.expect("claims");
    let second = ledger.claim(PARTITION).await.expect("claims");
    assert!(second.epoch > first.epoch);
    let mut transaction = begin(ledger).await;
    assert_eq!(transaction.lock_offset(PARTITION).await.expect("locks").epoch, second.epoch);
    assert!(transaction.advance(first, Claim { next_offset: 1, ..first }).await.is_err());
    transaction.advance(second, Claim { next_offset: 4, ..second }).await.expect("advances");
    transaction.commit().await.expect("commits");
    assert_eq!(ledger.claim(PARTITION).await.expect("claims").next_offset, 4);
}

pub(crate) async fn the_released_offset_is_stored_by_the_newest_claim_only(ledger: &dyn Ledger) {
    let first = ledger.claim(PARTITION).await.expect("claims");
    assert_eq!(first.released_offset, 0);
    let settled = Claim { next_offset: 9, released_offset: 4, ..first };
    let mut transaction = begin(ledger).await;
    transaction.advance(first, settled).await.expect("advances");
    transaction.commit().await.expect("commits");
    ledger.store_released(Claim { released_offset: 7, ..settled }).await.expect("stores");
    let second = ledger.claim(PARTITION).await.expect("claims");
    assert_eq!((second.next_offset, second.released_offset), (9, 7));
    ledger.store_released(Claim { released_offset: 9, ..settled }).await.expect("does nothing");
    assert_eq!(ledger.claim(PARTITION).await.expect("claims").released_offset, 7);
}

pub(crate) async fn stock_of_many_coupons_is_read_at_once(ledger: &dyn Ledger) {
    let coupon = |number: u64| CouponId::try_from(number).expect("in range");
    for (number, total) in [(7, 4), (8, 1), (9, 0)] {
        let new = NewCampaign { coupon_id: coupon(number), ..campaign(total, 2) };
        ledger.create_campaign(&new).await.expect("creates");
    }
    let some = |numbers: &[u32]| Shards::Some(numbers.iter().copied().map(ShardNo).collect());
    let wanted = BTreeMap::from([
        (coupon(6), Shards::All),
        (coupon(7), some(&[1, 7])),
        (coupon(8), Shards::All),
        (coupon(9), Shards::All),
        (coupon(10), some(&[0])),
    ]);
    let mut transaction = begin(ledger).await;
    let stock = transaction.lock_stock(&wanted).await.expect("locks");
    let expected = [
        (coupon(7), stock_of(&[(1, 2)], false)),
        (coupon(8), stock_of(&[(0, 1), (1, 0)], true)),
        (coupon(9), stock_of(&[(0, 0), (1, 0)], true)),
    ];
    assert_eq!(stock, expected.into());
    assert_eq!(transaction.lock_stock(&BTreeMap::new()).await.expect("locks"), BTreeMap::new());
    assert_eq!(transaction.grants(&[]).await.expect("reads"), HashMap::new());
}

fn stock_of(shards: &[(u32, u64)], complete: bool) -> LockedStock {
    let shards = shards.iter().map(|(shard, remaining)| (ShardNo(*shard), *remaining)).collect();
    LockedStock { per_user_limit: 1, shards, complete }
}

pub(crate) async fn a_grant_number_is_not_given_again_after_an_earlier_grant_was_deleted(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    let mut transaction = begin(ledger).await;
    transaction.insert_outcomes(&[settled(3, 1, issued(3))]).await.expect("inserts");
    let holder = (coupon(), user(1));
    assert_eq!(transaction.grants(&[holder]).await.expect("reads"), HashMap::from([(holder, 3)]));
}

/// A campaign of which one of two requests was granted.
pub(crate) async fn store_audited(ledger: &dyn Ledger) -> Audit {
    ledger.create_campaign(&campaign(1, 1)).await.expect("creates");
    let mut transaction = begin(ledger).await;
    let outcomes = [settled(1, 1, issued(1)), settled(2, 2, Outcome::Rejected(Reason::SoldOut))];
    transaction.insert_outcomes(&outcomes).await.expect("inserts");
    transaction.commit().await.expect("commits");
    let audit = ledger.audit(coupon()).await.expect("reads").expect("exists");
    assert_eq!((audit.granted, audit.sold_out), (1, 1));
    audit
}

pub(crate) async fn a_recount_agrees_with_the_tallies_of_several_partitions(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(3, 2)).await.expect("creates");
    let elsewhere = |settled| Settled { partition: PartitionNo(4), ..settled };
    let rejected = Outcome::Rejected;
    let batches = [
        vec![settled(1, 1, issued(1)), settled(2, 2, rejected(Reason::SoldOut))],
        vec![settled(3, 1, issued(2)), settled(4, 2, rejected(Reason::UserLimit))],
        vec![elsewhere(settled(5, 3, issued(1))), elsewhere(settled(6, 3, rejected(Reason::Invalid)))],
    ];
    for batch in &batches {
        let mut transaction = begin(ledger).await;
        transaction.insert_outcomes(batch).await.expect("inserts");
        transaction.commit().await.expect("commits");
    }
    let audit = ledger.recount(coupon()).await.expect("reads").expect("exists");
    assert_eq!((audit.granted, audit.users, audit.sold_out, audit.user_limit, audit.invalid), (3, 2, 1, 1, 1));
    assert_eq!((audit.shards[0].granted, audit.shards[1].picked), (3, 6));
    assert!(!audit.balanced, "no stock was taken: {audit:?}");
    let recount = audit.recount.clone().expect("is recounted");
    assert!(recount.agrees, "{audit:?}");
    assert_eq!((recount.granted, recount.users, recount.users_over_limit), (3, 2, 1));
    let tallied = ledger.audit(coupon()).await.expect("reads").expect("exists");
    assert_eq!(Audit { recount: audit.recount.clone(), ..tallied }, audit);
}

macro_rules! contract_tests {
    ($name:ident => $open:expr) => {
        $crate::ledger::contract::contract_tests!($name => $open;
            creating_a_campaign_again_changes_nothing,
            changes_conserve_stock_and_only_a_top_up_adds,
            a_change_under_a_key_is_applied_once,
            a_reader_misses_no_change_after_the_version_that_it_read,
            a_settlement_changes_the_stock_but_no_version,
            the_offsets_of_all_claimed_partitions_are_read_at_once,
            outcomes_are_listed_page_by_page_each_once,
            deleted_outcomes_are_gone_and_the_campaign_stays,
            the_terms_of_grants_are_read_as_written,
            the_terms_of_a_campaign_are_deleted_in_bounded_steps,
            a_campaign_is_expired_until_its_deletion_is_recorded,
            components_are_deleted_with_the_last_generation_that_names_them,
            the_version_that_was_registered_last_is_the_newest_of_its_name,
            simultaneous_registrations_of_one_name_have_one_order,
            a_registration_repairs_a_component,
            a_signature_of_a_component_stays_until_another_one_is_stored,
            a_component_is_kept_while_a_version_or_a_generation_names_it,
            one_rollout_of_a_scope_is_running,
            of_two_changes_of_a_rollout_the_first_counts,
            the_newest_report_of_each_gateway_is_kept_as_long_as_its_rollout,
            the_component_of_a_running_rollout_is_kept,
            a_closed_campaign_stays_closed,
            an_unknown_coupon_has_no_campaign,
            a_committed_settlement_is_visible_completely,
            the_arm_of_an_outcome_is_read_as_written,
            a_dropped_settlement_is_rolled_back,
            taking_more_than_a_shard_has_fails,
            a_second_outcome_or_grant_number_is_rejected_as_transient,
            the_newest_claim_fences_earlier_claims,
            the_released_offset_is_stored_by_the_newest_claim_only,
            stock_of_many_coupons_is_read_at_once,
            a_grant_number_is_not_given_again_after_an_earlier_grant_was_deleted,
            a_recount_agrees_with_the_tallies_of_several_partitions,
            a_generation_is_published_once_with_its_components,
            each_pipeline_has_generations_of_its_own,
            the_number_of_a_deleted_generation_stays_taken,
            the_end_of_a_pipeline_deletes_what_only_its_generations_name,
            the_newest_number_stays_taken_when_its_pipeline_ends,
            the_first_proposed_log_is_kept,
            a_skip_moves_only_the_offset_that_it_names,
            adopting_a_log_resets_every_partition_and_fences_all_claims,
            a_coupon_is_assigned_to_one_group_for_ever,
            a_campaign_that_was_never_assigned_is_in_the_first_group,
            the_place_of_a_database_stays_and_the_groups_that_it_saw_only_rise,
        );
    };
    ($name:ident => $open:expr; $($promise:ident,)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $promise() {
                    let (ledger, _guard) = $open;
                    $crate::ledger::contract::$promise(&ledger).await;
                }
            )+
        }
    };
}
pub(crate) use contract_tests;
