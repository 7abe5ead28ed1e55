//! A checker that cannot fail is worth nothing: each promise is broken once, and it must say which.

use std::time::Duration;

use super::report::Broken;
use super::{Audit, Exchange, Outcome, Promised, Receipt, Reply, Seen, ShardAudit, Sightings, check};

/// What a checker is given.
struct Story {
    exchanges: Vec<Exchange>,
    sightings: Sightings,
    promised: Promised,
    audit: Audit,
}

/// Three coupons in two shards; users 1 to 3 have one each, and user 4 came too late.
fn flawless() -> Story {
    let shard = |shard_no, granted, picked| ShardAudit { shard_no, remaining: 0, granted, picked };
    let mut story = Story {
        exchanges: (1..=4).map(|user| asked(user, accepted(&format!("r{user}")))).collect(),
        sightings: Sightings::new(),
        promised: Promised { total: 3, per_user_limit: 1, was_topped_up: false },
        audit: Audit {
            coupon_id: 104,
            total: 3,
            granted: 3,
            remaining: 0,
            balanced: true,
            sold_out: 1,
            user_limit: 0,
            invalid: 0,
            per_user_limit: 1,
            users_over_limit: 0,
            users: 3,
            shards: vec![shard(0, 2, 3), shard(1, 1, 1)],
        },
    };
    for (request_id, outcome) in [("r1", issued(0)), ("r2", issued(0)), ("r3", issued(1)), ("r4", rejected("SOLD_OUT"))]
    {
        story.sightings.insert(request_id.to_owned(), vec![Seen::Pending, Seen::Ended(outcome)]);
    }
    story
}

fn asked(user: u64, reply: Reply) -> Exchange {
    Exchange { user, coupon: 104, key: None, took: Duration::from_millis(1), reply }
}

fn accepted(request_id: &str) -> Reply {
    let status_url = format!("/coupon/issue/{request_id}?partition=0&offset=0");
    Reply::Accepted(Receipt { request_id: request_id.to_owned(), status_url, generation: Some(1) })
}

fn outcome(status: &str, reason: Option<&str>, shard_no: Option<u32>) -> Outcome {
    Outcome { status: status.to_owned(), reason: reason.map(str::to_owned), shard_no, settled_at: None }
}

fn issued(shard_no: u32) -> Outcome {
    outcome("ISSUED", None, Some(shard_no))
}

fn rejected(reason: &str) -> Outcome {
    outcome("REJECTED", Some(reason), None)
}

/// What is broken once the flawless story is changed in one respect.
fn broken_by(change: impl FnOnce(&mut Story)) -> Vec<Broken> {
    let mut story = flawless();
    change(&mut story);
    check(&story.exchanges, &story.sightings, story.promised, story.audit).broken
}

fn request(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_flawless_history_breaks_nothing() {
    assert_eq!(broken_by(|_| ()), []);
}

#[test]
fn a_202_that_stays_pending_has_no_outcome() {
    let broken = broken_by(|story| {
        story.sightings.insert(request("r4"), vec![Seen::Pending]);
        story.audit.sold_out = 0;
        story.audit.shards[0].picked = 2;
    });
    assert_eq!(broken, [Broken::NoOutcome { request_id: request("r4"), last: "Some(Pending)".to_owned() }]);
}

#[test]
fn a_202_that_is_forgotten_has_no_outcome() {
    let broken = broken_by(|story| {
        story.sightings.insert(request("r1"), vec![Seen::Nothing("404".to_owned())]);
    });
    assert!(matches!(&broken[0], Broken::NoOutcome { request_id, .. } if request_id == "r1"), "{broken:?}");
    assert!(matches!(&broken[1], Broken::GrantedDiffers { seen: 2, uncertain: 0, granted: 3 }), "{broken:?}");
}

#[test]
fn an_outcome_that_changes_is_noticed() {
    let broken = broken_by(|story| {
        story.sightings.entry(request("r1")).or_default().insert(0, Seen::Ended(rejected("SOLD_OUT")));
    });
    assert!(matches!(&broken[..], [Broken::OutcomeChanged { request_id, .. }] if request_id == "r1"), "{broken:?}");
}

#[test]
fn an_outcome_whose_shard_changes_is_noticed() {
    let broken = broken_by(|story| {
        story.sightings.entry(request("r1")).or_default().insert(0, Seen::Ended(issued(1)));
    });
    assert!(matches!(&broken[..], [Broken::OutcomeChanged { .. }]), "{broken:?}");
}

#[test]
fn an_outcome_that_becomes_pending_again_is_noticed() {
    let broken = broken_by(|story| story.sightings.entry(request("r4")).or_default().push(Seen::Pending));
    assert!(broken.iter().any(|broken| matches!(broken, Broken::OutcomeChanged { .. })), "{broken:?}");
}

#[test]
fn two_requests_without_a_key_may_not_share_a_name() {
    let broken = broken_by(|story| story.exchanges.push(asked(1, accepted("r1"))));
    assert_eq!(broken, [Broken::OneNameForTwo { request_id: request("r1") }]);
}

#[test]
fn a_retry_under_the_same_key_shares_its_name() {
    let with_key = |user, reply| Exchange { key: Some("k".to_owned()), ..asked(user, reply) };
    assert_eq!(
        broken_by(|story| {
            story.exchanges[0] = with_key(1, accepted("r1"));
            story.exchanges.push(with_key(1, accepted("r1")));
            story.exchanges.push(with_key(1, Reply::Unanswered));
        }),
        []
    );
    let broken = broken_by(|story| {
        story.exchanges[0] = with_key(1, accepted("r1"));
        story.exchanges[1] = with_key(2, accepted("r2"));
    });
    assert_eq!(broken, [Broken::TwoNamesForOneKey { key: "k".to_owned() }]);
}

#[test]
fn a_202_must_say_which_generation_decided() {
    let broken = broken_by(|story| {
        if let Reply::Accepted(receipt) = &mut story.exchanges[0].reply {
            receipt.generation = None;
        }
    });
    assert_eq!(broken, [Broken::NoGeneration { request_id: request("r1") }]);
}

#[test]
fn a_user_with_more_than_the_limit_is_named() {
    let broken = broken_by(|story| story.exchanges[1].user = 1);
    assert_eq!(broken, [Broken::UserOverLimit { user: 1, issued: 2 }]);
}

#[test]
fn a_grant_that_nobody_asked_for_is_oversold() {
    let broken = broken_by(|story| {
        story.audit.granted = 4;
        story.audit.total = 4;
        story.audit.shards[0].granted = 3;
        story.audit.shards[0].picked = 4;
        story.promised.total = 4;
    });
    assert_eq!(
        broken,
        [
            Broken::GrantedDiffers { seen: 3, uncertain: 0, granted: 4 },
            Broken::ShardDiffers { shard_no: 0, seen: 2, granted: 3 },
        ]
    );
}

#[test]
fn a_grant_may_be_that_of_a_request_without_an_answer() {
    let broken = broken_by(|story| {
        story.exchanges[0].reply = Reply::Unanswered;
        story.sightings.remove("r1");
    });
    assert_eq!(broken, []);
}

#[test]
fn a_request_that_never_arrived_explains_nothing() {
    let broken = broken_by(|story| {
        story.exchanges[0].reply = Reply::NotSent;
        story.sightings.remove("r1");
    });
    assert!(matches!(&broken[0], Broken::GrantedDiffers { seen: 2, uncertain: 0, granted: 3 }), "{broken:?}");
}

#[test]
fn stock_that_vanishes_is_noticed() {
    let broken = broken_by(|story| {
        story.audit.total = 4;
        story.audit.balanced = false;
        story.promised.total = 4;
    });
    assert_eq!(broken, [Broken::NotBalanced { granted: 3, remaining: 0, total: 4 }]);
}

#[test]
fn a_total_that_nobody_set_is_noticed() {
    let broken = broken_by(|story| story.promised.total = 5);
    assert_eq!(broken, [Broken::WrongTotal { total: 3, promised: 5 }]);
}

/// One coupon is left, whoever was turned away.
fn with_one_left(story: &mut Story) {
    story.audit.total = 4;
    story.audit.remaining = 1;
    story.audit.shards[1].remaining = 1;
    story.promised.total = 4;
}

#[test]
fn sold_out_is_a_lie_while_stock_is_left() {
    assert_eq!(broken_by(with_one_left), [Broken::SoldOutWithStock { turned_away: 1, remaining: 1 }]);
    let broken = broken_by(|story| {
        with_one_left(story);
        let reason = "SOLD_OUT".to_owned();
        story.exchanges.push(asked(5, Reply::Refused { status: 409, reason, generation: Some(1) }));
    });
    assert_eq!(broken, [Broken::SoldOutWithStock { turned_away: 2, remaining: 1 }]);
}

#[test]
fn sold_out_may_have_been_true_before_a_top_up() {
    let broken = broken_by(|story| {
        with_one_left(story);
        story.promised.was_topped_up = true;
    });
    assert_eq!(broken, []);
}

#[test]
fn a_rejection_that_the_audit_does_not_know_is_noticed() {
    let broken = broken_by(|story| {
        story.audit.sold_out = 0;
        story.audit.user_limit = 1;
    });
    assert_eq!(
        broken,
        [
            Broken::RejectedDiffers { reason: "SOLD_OUT", seen: 1, uncertain: 0, audited: 0 },
            Broken::RejectedDiffers { reason: "USER_LIMIT", seen: 0, uncertain: 0, audited: 1 },
        ]
    );
}

#[test]
fn a_grant_booked_on_another_shard_is_noticed() {
    let broken = broken_by(|story| {
        story.audit.shards[0].granted = 1;
        story.audit.shards[1].granted = 2;
    });
    assert_eq!(
        broken,
        [
            Broken::ShardDiffers { shard_no: 0, seen: 2, granted: 1 },
            Broken::ShardDiffers { shard_no: 1, seen: 1, granted: 2 },
        ]
    );
}

#[test]
fn an_audit_that_contradicts_itself_is_noticed() {
    type Change = fn(&mut Audit);
    let changes: [(Change, &str); 6] = [
        (|audit| audit.balanced = false, "balanced"),
        (|audit| audit.users_over_limit = 1, "users over the limit"),
        (|audit| audit.users = 4, "more users than grants"),
        (|audit| audit.per_user_limit = 2, "the limit of a user"),
        (|audit| audit.shards[0].remaining = 1, "remaining by shard"),
        (|audit| audit.shards[0].picked = 9, "picked by shard"),
    ];
    for (change, what) in changes {
        assert_eq!(broken_by(|story| change(&mut story.audit)), [Broken::AuditContradictsItself { what }]);
    }
}
