use proptest::prelude::*;

use super::*;
use crate::coupon::{Arm, CampaignCounts, IssueRequest, Terms};

const PARTITION: PartitionNo = PartitionNo(0);
const PARTITIONS: u32 = 3;
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
    Item { partition: PARTITION, offset, request_id, content: Ok(accepted) }
}

fn in_partition(partition: u32, item: Item) -> Item {
    Item { partition: PartitionNo(partition), ..item }
}

fn settle(items: &[Item], facts: Facts) -> Verdict {
    super::settle(&items.iter().collect::<Vec<_>>(), facts, 0)
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
    let verdict = settle(&items, facts(stock(1, &[1000], true)));
    assert_eq!(outcomes(&verdict).iter().filter(|outcome| matches!(outcome, Outcome::Issued { .. })).count(), 99);
    assert_eq!(outcomes(&verdict)[99], Outcome::Rejected(Reason::UserLimit));
}

#[test]
fn an_empty_picked_shard_needs_all_shards_locked_before_the_decision() {
    let items = [item(0, 1, 1, 1, 0), item(1, 2, 1, 2, 0)];
    let partial = settle(&items, facts(stock(1, &[1], false)));
    assert_eq!((partial.decided_of(PARTITION), partial.exhausted), (1, [(PARTITION, [coupon(1)].into())].into()));

    let complete = settle(&items[1..], facts(stock(1, &[0, 0, 5], true)));
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
    let verdict = settle(&items, facts);
    assert_eq!(
        (verdict.decided_of(PARTITION), verdict.exhausted),
        (0, [(PARTITION, [coupon(1), coupon(2)].into())].into())
    );
}

#[test]
fn a_request_is_sold_out_when_every_shard_is_empty() {
    let verdict = settle(&[item(0, 1, 1, 1, 0)], facts(stock(1, &[0, 0], true)));
    assert_eq!(outcomes(&verdict), [Outcome::Rejected(Reason::SoldOut)]);
}

#[test]
fn a_request_for_a_shard_that_a_reshard_removed_gets_another_shard() {
    let verdict = settle(&[item(0, 1, 1, 1, 7)], facts(stock(1, &[4], true)));
    assert_eq!(outcomes(&verdict), [issued(0, 1)]);
}

#[test]
fn an_undecodable_record_and_a_coupon_without_campaign_are_invalid() {
    let unreadable = Item { content: Err("truncated".into()), ..item(0, 1, 1, 1, 0) };
    let verdict = settle(&[unreadable, item(1, 2, 9, 1, 0)], facts(stock(1, &[4], true)));
    assert_eq!(outcomes(&verdict), [Outcome::Rejected(Reason::Invalid); 2]);
}

#[test]
fn a_request_that_is_twice_in_a_batch_is_settled_once() {
    let verdict = settle(&[item(0, 1, 1, 1, 0), item(1, 1, 1, 1, 0)], facts(stock(5, &[4], true)));
    assert_eq!((outcomes(&verdict), verdict.replayed), (vec![issued(0, 1)], 1));
}

#[test]
fn a_request_that_is_in_two_partitions_is_settled_once() {
    let items = [in_partition(1, item(7, 1, 1, 1, 0)), in_partition(2, item(3, 1, 1, 1, 0))];
    let verdict = settle(&items, facts(stock(5, &[4], true)));
    assert_eq!((outcomes(&verdict), verdict.replayed), (vec![issued(0, 1)], 1));
    assert_eq!(verdict.decided, [(PartitionNo(1), 1), (PartitionNo(2), 1)].into());
    assert_eq!(verdict.settled_of(PartitionNo(2)).count(), 0);
}

#[test]
fn a_user_whose_requests_are_in_two_partitions_is_granted_one_coupon() {
    let items = [in_partition(1, item(7, 1, 1, 1, 0)), in_partition(2, item(3, 2, 1, 1, 1))];
    let verdict = settle(&items, facts(stock(1, &[4, 4], true)));
    assert_eq!(outcomes(&verdict), [issued(0, 1), Outcome::Rejected(Reason::UserLimit)]);
}

#[test]
fn a_partition_that_needs_more_shards_holds_up_no_other() {
    let items = [item(0, 1, 1, 1, 0), item(1, 2, 1, 2, 1), in_partition(1, item(0, 3, 1, 3, 1))];
    let verdict = settle(&items, facts(stock(1, &[0, 4], false)));
    assert_eq!((outcomes(&verdict), verdict.decided), (vec![issued(1, 1)], [(PartitionNo(1), 1)].into()));
    assert_eq!(verdict.exhausted, [(PARTITION, [coupon(1)].into())].into());
}

prop_compose! {
    /// Batches of several partitions, in which request ids, users and shards often repeat, and shards run out.
    fn batches()(
        rows in proptest::collection::vec((0..PARTITIONS, 0..40_u8, 1..3_u64, 1..12_u64, 0..SHARDS + 1), 0..60),
        remaining in proptest::collection::vec(0..8_u64, SHARDS as usize),
        limit in 1..4_u32,
        complete in any::<bool>(),
        replays in proptest::collection::btree_set(0..40_u8, 0..6),
        grants in proptest::collection::hash_map(1..12_u64, 0..4_u32, 0..6),
    ) -> (Vec<Item>, Facts) {
        let mut next_offsets = [0; PARTITIONS as usize];
        let mut next_offset = |partition: u32| {
            let next = &mut next_offsets[partition as usize];
            *next += 1;
            *next - 1
        };
        let items = rows.into_iter()
            .map(|(partition, id, coupon, user, shard)| {
                in_partition(partition, item(next_offset(partition), id, coupon, user, shard))
            })
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
    fn granted_and_remaining_add_up_to_the_stock_before((items, facts) in batches()) {
        let before: u64 = facts.stock.values().flat_map(|stock| stock.shards.values()).sum();
        let verdict = settle(&items, facts);
        let remaining: u64 = verdict.left.values().flat_map(|stock| stock.shards.values()).sum();
        let taken: u64 = verdict.takes.iter().map(|take| take.records).sum();
        let granted = outcomes(&verdict).iter().filter(|outcome| matches!(outcome, Outcome::Issued { .. })).count();
        prop_assert_eq!(remaining + taken, before);
        prop_assert_eq!(granted as u64, taken);
    }

    #[test]
    fn every_decided_item_has_exactly_one_outcome((items, facts) in batches()) {
        let verdict = settle(&items, facts);
        let decided: usize = verdict.decided.values().sum();
        prop_assert_eq!(verdict.settled.len() as u64 + verdict.replayed, decided as u64);
        prop_assert_eq!(verdict.exhausted.is_empty(), decided == items.len());
        let request_ids: BTreeSet<_> = verdict.settled.iter().map(|settled| settled.request_id).collect();
        prop_assert_eq!(request_ids.len(), verdict.settled.len());
    }

    #[test]
    fn each_partition_is_decided_in_order_up_to_an_exhausted_coupon((items, facts) in batches()) {
        let verdict = settle(&items, facts);
        for partition in (0..PARTITIONS).map(PartitionNo) {
            let decided = verdict.decided_of(partition);
            let offsets: Vec<Offset> = verdict.settled_of(partition).map(|settled| settled.offset).collect();
            prop_assert!(offsets.is_sorted() && offsets.iter().all(|offset| *offset < decided as Offset));
            if let Some(next) = items.iter().filter(|item| item.partition == partition).nth(decided) {
                let accepted = next.content.as_ref().expect("others need no shard");
                prop_assert!(verdict.exhausted[&partition].contains(&accepted.request.coupon_id));
            }
        }
    }

    #[test]
    fn no_user_exceeds_the_limit_and_grant_numbers_have_no_gap((items, facts) in batches()) {
        let (limit, held) = (facts.stock[&coupon(1)].per_user_limit, facts.grants.clone());
        let verdict = settle(&items, facts);
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
    fn no_request_is_sold_out_while_a_shard_has_stock((items, facts) in batches()) {
        let verdict = settle(&items, facts);
        if outcomes(&verdict).contains(&Outcome::Rejected(Reason::SoldOut)) {
            prop_assert!(verdict.left.values().all(|stock| stock.complete));
            prop_assert_eq!(verdict.left.values().flat_map(|stock| stock.shards.values()).sum::<u64>(), 0);
        }
    }

    #[test]
    fn stock_is_taken_only_from_shards_that_were_read_with_stock((items, facts) in batches()) {
        let before = facts.stock.clone();
        for take in settle(&items, facts).takes {
            let had = before[&take.coupon_id].shards.get(&take.shard_no).copied().unwrap_or(0);
            prop_assert!((1..=had).contains(&take.records), "{take:?} from {had}");
        }
    }

    #[test]
    fn batches_settled_in_two_transactions_end_like_in_one((items, facts) in batches(), split in 0..60_usize) {
        let whole = outcomes(&settle(&items, facts.clone()));
        let split = split.min(items.len());
        let first = settle(&items[..split], facts.clone());
        let both = outcomes(&first);
        if !first.exhausted.is_empty() {
            // Other partitions go on.
            prop_assert!(whole.starts_with(&both));
            return Ok(());
        }
        let mut later = Facts { stock: first.left.clone(), ..facts };
        for settled in &first.settled {
            later.replays.insert(settled.request_id);
            if let (Outcome::Issued { grant_no, .. }, Some(subject)) = (settled.outcome, &settled.subject) {
                later.grants.insert((subject.coupon_id, subject.user_id), grant_no);
            }
        }
        let second = outcomes(&settle(&items[split..], later));
        prop_assert_eq!([both, second].concat(), whole);
    }
}
