use proptest::prelude::*;

use super::*;
use crate::coupon::{Arm, CampaignCounts, IssueRequest, Terms};

const PARTITION: PartitionNo = PartitionNo(0);
const SHARDS: u32 = 3;

fn coupon(number: u64) -> CouponId {
    number.try_into().expect("positive")
}

fn item(offset: Offset, id: u8, coupon_no: u64, user: u64, shard: u32) -> Item {
    let request_id = RequestId::from([id; 16]);
    let terms = Terms {
        type_snapshot: "FIXED".into(),
        discount_rate_snapshot: None,
        discount_amount_snapshot: None,
        minimum_order_amount_snapshot: None,
        usage_period_snapshot: None,
        expired_at: None,
    };
    let request = IssueRequest {
        user_id: user.try_into().expect("positive"),
        coupon_id: coupon(coupon_no),
        policy_id: 21_u64.try_into().expect("positive"),
        terms,
    };
    let accepted = Accepted {
        request_id,
        arrived_at_ms: 0,
        shard_no: ShardNo(shard),
        generation: 1,
        arm: Arm::Active,
        fingerprint: None,
        campaign_counts: CampaignCounts::default(),
        request,
    };
    Item { offset, request_id, content: Ok(accepted) }
}

fn stock(per_user_limit: u32, remaining: &[u64], complete: bool) -> LockedStock {
    LockedStock { per_user_limit, shards: (0..).map(ShardNo).zip(remaining.iter().copied()).collect(), complete }
}

fn facts(stock: LockedStock) -> Facts {
    Facts { stock: [(coupon(1), stock)].into(), ..Facts::default() }
}

fn outcomes(verdict: &Verdict) -> Vec<Outcome> {
    verdict.settled.iter().map(|settled| settled.outcome).collect()
}

fn issued(shard: u32, grant_no: u32) -> Outcome {
    Outcome::Issued { shard: ShardNo(shard), grant_no }
}

#[test]
fn one_rejection_in_a_batch_of_100_leaves_99_issued() {
    let mut items: Vec<_> = (0..99).map(|n| item(u64::from(n), n, 1, u64::from(n) + 1, 0)).collect();
    items.push(item(99, 200, 1, 1, 0));
    let verdict = settle(PARTITION, &items, facts(stock(1, &[1000], true)), 0);
    assert_eq!(outcomes(&verdict).iter().filter(|outcome| matches!(outcome, Outcome::Issued { .. })).count(), 99);
    assert_eq!(outcomes(&verdict)[99], Outcome::Rejected(Reason::UserLimit));
}

#[test]
fn an_empty_picked_shard_needs_all_shards_locked_before_the_decision() {
    let items = [item(0, 1, 1, 1, 0), item(1, 2, 1, 2, 0)];
    let partial = settle(PARTITION, &items, facts(stock(1, &[1], false)), 0);
    assert_eq!((partial.decided, partial.exhausted), (1, [coupon(1)].into()));

    let complete = settle(PARTITION, &items[1..], facts(stock(1, &[0, 0, 5], true)), 0);
    assert_eq!(outcomes(&complete), [issued(2, 1)]);
    assert_eq!(complete.steals, [(coupon(1), 1)].into());
}

#[test]
fn coupons_that_run_out_together_stop_the_batch_once() {
    let items = [item(0, 1, 1, 1, 0), item(1, 2, 2, 2, 0), item(2, 3, 3, 3, 0), item(3, 4, 2, 4, 0)];
    let stock = |remaining| stock(1, &[remaining], false);
    let facts = Facts {
        stock: [(coupon(1), stock(0)), (coupon(2), stock(0)), (coupon(3), stock(5))].into(),
        ..Facts::default()
    };
    let verdict = settle(PARTITION, &items, facts, 0);
    assert_eq!((verdict.decided, verdict.exhausted), (0, [coupon(1), coupon(2)].into()));
}

#[test]
fn a_request_is_sold_out_when_every_shard_is_empty() {
    let verdict = settle(PARTITION, &[item(0, 1, 1, 1, 0)], facts(stock(1, &[0, 0], true)), 0);
    assert_eq!(outcomes(&verdict), [Outcome::Rejected(Reason::SoldOut)]);
}

#[test]
fn a_request_for_a_shard_that_a_reshard_removed_gets_another_shard() {
    let verdict = settle(PARTITION, &[item(0, 1, 1, 1, 7)], facts(stock(1, &[4], true)), 0);
    assert_eq!(outcomes(&verdict), [issued(0, 1)]);
}

#[test]
fn an_undecodable_record_and_a_coupon_without_campaign_are_invalid() {
    let unreadable = Item { offset: 0, request_id: RequestId::from([1; 16]), content: Err("truncated".into()) };
    let verdict = settle(PARTITION, &[unreadable, item(1, 2, 9, 1, 0)], facts(stock(1, &[4], true)), 0);
    assert_eq!(outcomes(&verdict), [Outcome::Rejected(Reason::Invalid); 2]);
}

#[test]
fn a_request_that_is_twice_in_a_batch_is_settled_once() {
    let verdict = settle(PARTITION, &[item(0, 1, 1, 1, 0), item(1, 1, 1, 1, 0)], facts(stock(5, &[4], true)), 0);
    assert_eq!((outcomes(&verdict), verdict.replayed), (vec![issued(0, 1)], 1));
}

prop_compose! {
    /// Batches in which request ids, users and shards often repeat, and shards run out.
    fn batch()(
        rows in proptest::collection::vec((0..40_u8, 1..3_u64, 1..12_u64, 0..SHARDS + 1), 0..60),
        remaining in proptest::collection::vec(0..8_u64, SHARDS as usize),
        limit in 1..4_u32,
        complete in any::<bool>(),
        replays in proptest::collection::btree_set(0..40_u8, 0..6),
        grants in proptest::collection::hash_map(1..12_u64, 0..4_u32, 0..6),
    ) -> (Vec<Item>, Facts) {
        let items = (0..).zip(rows)
            .map(|(offset, (id, coupon, user, shard))| item(offset, id, coupon, user, shard))
            .collect();
        let facts = Facts {
            replays: replays.into_iter().map(|id| RequestId::from([id; 16])).collect(),
            grants: grants.into_iter()
                .map(|(user, held)| ((coupon(1), user.try_into().expect("positive")), held)).collect(),
            stock: [(coupon(1), stock(limit, &remaining, complete))].into(),
        };
        (items, facts)
    }
}

proptest! {
    #[test]
    fn granted_and_remaining_add_up_to_the_stock_before((items, facts) in batch()) {
        let before: u64 = facts.stock.values().flat_map(|stock| stock.shards.values()).sum();
        let verdict = settle(PARTITION, &items, facts, 0);
        let remaining: u64 = verdict.left.values().flat_map(|stock| stock.shards.values()).sum();
        let taken: u64 = verdict.takes.iter().map(|take| take.records).sum();
        let granted = outcomes(&verdict).iter().filter(|outcome| matches!(outcome, Outcome::Issued { .. })).count();
        prop_assert_eq!(remaining + taken, before);
        prop_assert_eq!(granted as u64, taken);
    }

    #[test]
    fn every_decided_item_has_exactly_one_outcome((items, facts) in batch()) {
        let verdict = settle(PARTITION, &items, facts, 0);
        prop_assert_eq!(verdict.settled.len() as u64 + verdict.replayed, verdict.decided as u64);
        prop_assert_eq!(verdict.exhausted.is_empty(), verdict.decided == items.len());
        let request_ids: BTreeSet<_> = verdict.settled.iter().map(|settled| settled.request_id).collect();
        prop_assert_eq!(request_ids.len(), verdict.settled.len());
    }

    #[test]
    fn no_user_exceeds_the_limit_and_grant_numbers_have_no_gap((items, facts) in batch()) {
        let (limit, held) = (facts.stock[&coupon(1)].per_user_limit, facts.grants.clone());
        let verdict = settle(PARTITION, &items, facts, 0);
        let mut next = held;
        for settled in &verdict.settled {
            if let (Outcome::Issued { grant_no, .. }, Some(subject)) = (settled.outcome, &settled.subject) {
                let held = next.entry((subject.coupon_id, subject.user_id)).or_default();
                *held += 1;
                prop_assert_eq!(*held, grant_no);
                prop_assert!(grant_no <= limit);
            }
        }
    }

    #[test]
    fn no_request_is_sold_out_while_a_shard_has_stock((items, facts) in batch()) {
        let verdict = settle(PARTITION, &items, facts, 0);
        if outcomes(&verdict).contains(&Outcome::Rejected(Reason::SoldOut)) {
            prop_assert!(verdict.left.values().all(|stock| stock.complete));
            prop_assert_eq!(verdict.left.values().flat_map(|stock| stock.shards.values()).sum::<u64>(), 0);
        }
    }

    #[test]
    fn stock_is_taken_only_from_shards_that_were_read_with_stock((items, facts) in batch()) {
        let before = facts.stock.clone();
        for take in settle(PARTITION, &items, facts, 0).takes {
            let had = before[&take.coupon_id].shards.get(&take.shard_no).copied().unwrap_or(0);
            prop_assert!((1..=had).contains(&take.records), "{take:?} from {had}");
        }
    }

    #[test]
    fn a_batch_settled_in_two_parts_ends_like_the_whole_batch((items, facts) in batch(), split in 0..60_usize) {
        let whole = settle(PARTITION, &items, facts.clone(), 0);
        let split = split.min(items.len());
        let first = settle(PARTITION, &items[..split], facts.clone(), 0);
        let mut both = outcomes(&first);
        if first.exhausted.is_empty() {
            let mut later = Facts { stock: first.left.clone(), ..facts };
            for settled in &first.settled {
                later.replays.insert(settled.request_id);
                if let (Outcome::Issued { grant_no, .. }, Some(subject)) = (settled.outcome, &settled.subject) {
                    later.grants.insert((subject.coupon_id, subject.user_id), grant_no);
                }
            }
            both.extend(outcomes(&settle(PARTITION, &items[split..], later, 0)));
        }
        prop_assert_eq!(both, outcomes(&whole));
    }
}
