//! Each test breaks one promise in an otherwise consistent history; the checker must report exactly that one.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::report::Violation;
use super::{
    Audit, Body, Books, CampaignLimits, Exchange, ExportLine, Observations, Observed, Outcome, Receipt, Recount, Reply,
    ShardAudit, check,
};

struct Scenario {
    exchanges: Vec<Exchange>,
    observations: Observations,
    keys_lost: Vec<RangeInclusive<Instant>>,
    limits: CampaignLimits,
    audit: Audit,
    export: Vec<ExportLine>,
}

/// Three coupons in two shards: users 1 to 3 are issued one each, and user 4 is rejected with SOLD_OUT.
fn consistent() -> Scenario {
    let shard = |shard_no, granted, picked| ShardAudit { shard_no, remaining: 0, granted, picked };
    let mut scenario = Scenario {
        exchanges: (1..=4).map(|user| asked(user, accepted(&format!("r{user}")))).collect(),
        observations: Observations::new(),
        keys_lost: Vec::new(),
        limits: CampaignLimits { total: 3, per_user_limit: 1, was_topped_up: false },
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
            recount: Recount { agrees: true, users_over_limit: 0 },
            users: 3,
            shards: vec![shard(0, 2, 3), shard(1, 1, 1)],
        },
        export: Vec::new(),
    };
    for (user, outcome) in (1..).zip([issued(0), issued(0), issued(1), rejected("SOLD_OUT")]) {
        let request_id = format!("r{user}");
        scenario.export.push(line(user, &request_id, &outcome));
        scenario.observations.insert(request_id, vec![Observed::Pending, Observed::Final(outcome)]);
    }
    scenario
}

fn asked(user: u64, reply: Reply) -> Exchange {
    let (sent_at, took) = (Instant::now(), Duration::from_millis(1));
    Exchange { user, coupon: 104, key: None, body: Body::One, sent_at, took, reply }
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

fn violations_after(change: impl FnOnce(&mut Scenario)) -> Vec<Violation> {
    let mut scenario = consistent();
    change(&mut scenario);
    let Scenario { exchanges, observations, keys_lost, limits, audit, export } = scenario;
    check(&exchanges, &observations, &keys_lost, limits, Books { audit, export }).violations
}

fn line(user_id: u64, request_id: &str, outcome: &Outcome) -> ExportLine {
    let Outcome { status, reason, shard_no, .. } = outcome.clone();
    ExportLine { request_id: request_id.to_owned(), user_id, status, reason, shard_no }
}

fn contradicts(what: &str, lines: u64, audited: u64) -> Violation {
    Violation::ExportContradictsAudit { what: what.to_owned(), lines, audited }
}

fn request(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_consistent_history_has_no_violation() {
    assert_eq!(violations_after(|_| ()), []);
}

#[test]
fn a_202_that_stays_pending_has_no_outcome() {
    let violations = violations_after(|scenario| {
        scenario.observations.insert(request("r4"), vec![Observed::Pending]);
        scenario.export.pop();
        scenario.audit.sold_out = 0;
        scenario.audit.shards[0].picked = 2;
    });
    assert_eq!(violations, [Violation::NoOutcome { request_id: request("r4"), last: "Some(Pending)".to_owned() }]);
}

#[test]
fn a_202_with_an_unknown_status_has_no_outcome() {
    let violations = violations_after(|scenario| {
        scenario.observations.insert(request("r1"), vec![Observed::NoStatus("503".to_owned())]);
    });
    assert!(matches!(&violations[0], Violation::NoOutcome { request_id, .. } if request_id == "r1"), "{violations:?}");
    assert!(
        matches!(&violations[1], Violation::GrantedDiffers { seen: 2, uncertain: 0, granted: 3 }),
        "{violations:?}"
    );
}

#[test]
fn a_202_that_was_unknown_for_a_moment_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.observations.entry(request("r1")).or_default().insert(0, Observed::Unknown);
    });
    assert_eq!(violations, [Violation::AcceptedButUnknown { request_id: request("r1") }]);
}

#[test]
fn a_changed_outcome_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.observations.entry(request("r1")).or_default().insert(0, Observed::Final(rejected("SOLD_OUT")));
    });
    assert!(
        matches!(&violations[..], [Violation::OutcomeChanged { request_id, .. }] if request_id == "r1"),
        "{violations:?}"
    );
}

#[test]
fn a_changed_shard_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.observations.entry(request("r1")).or_default().insert(0, Observed::Final(issued(1)));
    });
    assert!(matches!(&violations[..], [Violation::OutcomeChanged { .. }]), "{violations:?}");
}

#[test]
fn an_outcome_that_becomes_pending_again_is_a_violation() {
    let violations =
        violations_after(|scenario| scenario.observations.entry(request("r4")).or_default().push(Observed::Pending));
    assert!(
        violations.iter().any(|violations| matches!(violations, Violation::OutcomeChanged { .. })),
        "{violations:?}"
    );
}

#[test]
fn two_requests_without_a_key_may_not_share_a_request_id() {
    let violations = violations_after(|scenario| scenario.exchanges.push(asked(1, accepted("r1"))));
    assert_eq!(violations, [Violation::SharedRequestId { request_id: request("r1") }]);
}

fn with_key(user: u64, reply: Reply) -> Exchange {
    Exchange { key: Some("k".to_owned()), ..asked(user, reply) }
}

/// Another body of user 1, under the key.
fn of_other_body(reply: Reply) -> Exchange {
    Exchange { body: Body::Other, ..with_key(1, reply) }
}

#[test]
fn a_retry_under_the_same_key_shares_its_request_id() {
    assert_eq!(
        violations_after(|scenario| {
            scenario.exchanges[0] = with_key(1, accepted("r1"));
            scenario.exchanges.push(with_key(1, accepted("r1")));
            scenario.exchanges.push(with_key(1, Reply::Unanswered));
        }),
        []
    );
    let violations = violations_after(|scenario| {
        scenario.limits.per_user_limit = 2;
        scenario.audit.per_user_limit = 2;
        scenario.exchanges[0] = with_key(1, accepted("r1"));
        scenario.exchanges[1] = with_key(1, accepted("r2"));
        scenario.export[1].user_id = 1;
    });
    assert_eq!(violations, [Violation::TwoRequestIdsForKey { key: "k".to_owned() }]);
}

#[test]
fn a_key_that_two_users_share_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.exchanges[0] = with_key(1, accepted("r1"));
        scenario.exchanges[1] = with_key(2, accepted("r2"));
    });
    assert!(matches!(&violations[..], [Violation::TwoBodiesForKey { key, .. }] if key == "k"), "{violations:?}");
}

#[test]
fn another_body_under_a_key_that_is_accepted_is_a_violation_unless_the_key_was_lost() {
    let refused = |status, reason: &str| Reply::Refused { status, reason: reason.to_owned(), generation: None };
    let violations = violations_after(|scenario| {
        scenario.exchanges[0] = with_key(1, accepted("r1"));
        scenario.exchanges.push(of_other_body(refused(422, "IDEMPOTENCY_CONFLICT")));
    });
    assert_eq!(violations, []);
    let shares_the_outcome = violations_after(|scenario| {
        scenario.exchanges[0] = with_key(1, accepted("r1"));
        scenario.exchanges.push(of_other_body(accepted("r1")));
    });
    assert_eq!(shares_the_outcome, [Violation::SharedRequestId { request_id: request("r1") }]);
    let both_accepted = |scenario: &mut Scenario| {
        scenario.limits.per_user_limit = 2;
        scenario.audit.per_user_limit = 2;
        scenario.exchanges[0] = with_key(1, accepted("r1"));
        scenario.exchanges[1] = of_other_body(accepted("r2"));
        scenario.export[1].user_id = 1;
    };
    let violations = violations_after(both_accepted);
    assert!(matches!(&violations[..], [Violation::TwoBodiesForKey { key, .. }] if key == "k"), "{violations:?}");
    let after_a_loss = violations_after(|scenario| {
        both_accepted(scenario);
        scenario.keys_lost.push(scenario.exchanges[1].sent_at..=Instant::now());
    });
    assert_eq!(after_a_loss, []);
    let after_a_failed_attempt = violations_after(|scenario| {
        let failed = Reply::Refused { status: 503, reason: "LOG_UNAVAILABLE".to_owned(), generation: None };
        scenario.exchanges.push(with_key(1, failed));
        scenario.keys_lost.push(Instant::now()..=Instant::now());
        std::thread::sleep(Duration::from_millis(1));
        let accepted = |exchange: Exchange| Exchange { sent_at: Instant::now(), ..exchange };
        both_accepted(scenario);
        for exchange in &mut scenario.exchanges[..2] {
            *exchange = accepted(exchange.clone());
        }
    });
    assert_eq!(after_a_failed_attempt, [], "the failed attempt may have claimed the key");
    let after_an_earlier_loss = violations_after(|scenario| {
        scenario.keys_lost.push(Instant::now()..=Instant::now());
        std::thread::sleep(Duration::from_millis(1));
        both_accepted(scenario);
    });
    assert_eq!(after_an_earlier_loss.len(), 1, "the key was claimed after the loss");
}

#[test]
fn an_answer_to_another_body_does_not_tell_what_became_of_the_first() {
    let violations = violations_after(|scenario| {
        scenario.exchanges[0] = with_key(1, Reply::Unanswered);
        scenario.exchanges.push(of_other_body(Reply::Refused {
            status: 422,
            reason: "IDEMPOTENCY_CONFLICT".to_owned(),
            generation: None,
        }));
        scenario.observations.remove("r1");
    });
    assert_eq!(violations, []);
}

#[test]
fn an_export_that_lacks_an_outcome_is_a_violation() {
    let violations = violations_after(|scenario| drop(scenario.export.remove(0)));
    assert_eq!(
        violations,
        [
            contradicts("ISSUED", 2, 3),
            contradicts("shard 0", 1, 2),
            Violation::ExportIsIncomplete { lines: 3, requests: 3, audited: 4 },
            Violation::ExportDiffers { request_id: request("r1") },
        ]
    );
    let twice = violations_after(|scenario| scenario.export[0] = scenario.export[1].clone());
    let is_incomplete =
        |violation: &Violation| matches!(violation, Violation::ExportIsIncomplete { lines: 4, requests: 3, .. });
    assert!(twice.iter().any(is_incomplete), "{twice:?}");
}

#[test]
fn an_export_that_says_something_else_than_the_status_is_a_violation() {
    let changes: [fn(&mut ExportLine); 3] = [
        |line| line.user_id = 9,
        |line| (line.status, line.reason) = ("REJECTED".to_owned(), Some("SOLD_OUT".to_owned())),
        |line| line.shard_no = Some(1),
    ];
    for change in changes {
        let violations = violations_after(|scenario| change(&mut scenario.export[0]));
        let differs = Violation::ExportDiffers { request_id: request("r1") };
        assert_eq!(violations.iter().filter(|violation| **violation == differs).count(), 1, "{violations:?}");
    }
}

#[test]
fn a_202_must_say_which_generation_decided() {
    let violations = violations_after(|scenario| {
        if let Reply::Accepted(receipt) = &mut scenario.exchanges[0].reply {
            receipt.generation = None;
        }
    });
    assert_eq!(violations, [Violation::NoGeneration { request_id: request("r1") }]);
}

#[test]
fn a_user_over_the_limit_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.exchanges[1].user = 1;
        scenario.export[1].user_id = 1;
    });
    assert_eq!(violations, [Violation::UserOverLimit { user: 1, issued: 2 }]);
}

#[test]
fn a_grant_without_a_request_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.audit.granted = 4;
        scenario.audit.total = 4;
        scenario.audit.shards[0].granted = 3;
        scenario.audit.shards[0].picked = 4;
        scenario.limits.total = 4;
        scenario.export.push(line(9, "r9", &issued(0)));
    });
    assert_eq!(
        violations,
        [
            Violation::GrantedDiffers { seen: 3, uncertain: 0, granted: 4 },
            Violation::ShardDiffers { shard_no: 0, seen: 2, granted: 3 },
            Violation::ExportedButNotSent { request_id: request("r9") },
        ]
    );
}

#[test]
fn an_unanswered_request_may_account_for_a_grant() {
    let violations = violations_after(|scenario| {
        scenario.exchanges[0].reply = Reply::Unanswered;
        scenario.observations.remove("r1");
    });
    assert_eq!(violations, []);
}

#[test]
fn a_request_that_was_not_sent_accounts_for_no_grant() {
    let violations = violations_after(|scenario| {
        scenario.exchanges[0].reply = Reply::NotSent;
        scenario.observations.remove("r1");
    });
    assert!(
        matches!(&violations[0], Violation::GrantedDiffers { seen: 2, uncertain: 0, granted: 3 }),
        "{violations:?}"
    );
}

#[test]
fn missing_stock_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.audit.total = 4;
        scenario.audit.balanced = false;
        scenario.limits.total = 4;
    });
    assert_eq!(violations, [Violation::NotBalanced { granted: 3, remaining: 0, total: 4 }]);
}

#[test]
fn a_wrong_total_is_a_violation() {
    let violations = violations_after(|scenario| scenario.limits.total = 5);
    assert_eq!(violations, [Violation::WrongTotal { total: 3, expected: 5 }]);
}

/// One coupon remains although a user was rejected.
fn with_one_remaining(scenario: &mut Scenario) {
    scenario.audit.total = 4;
    scenario.audit.remaining = 1;
    scenario.audit.shards[1].remaining = 1;
    scenario.limits.total = 4;
}

#[test]
fn sold_out_while_stock_remains_is_a_violation() {
    assert_eq!(violations_after(with_one_remaining), [Violation::SoldOutWithStock { rejected: 1, remaining: 1 }]);
    let violations = violations_after(|scenario| {
        with_one_remaining(scenario);
        let reason = "SOLD_OUT".to_owned();
        scenario.exchanges.push(asked(5, Reply::Refused { status: 409, reason, generation: Some(1) }));
    });
    assert_eq!(violations, [Violation::SoldOutWithStock { rejected: 2, remaining: 1 }]);
}

#[test]
fn sold_out_before_a_top_up_is_no_violation() {
    let violations = violations_after(|scenario| {
        with_one_remaining(scenario);
        scenario.limits.was_topped_up = true;
    });
    assert_eq!(violations, []);
}

#[test]
fn a_rejection_missing_from_the_audit_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.audit.sold_out = 0;
        scenario.audit.user_limit = 1;
    });
    assert_eq!(
        violations,
        [
            Violation::RejectedDiffers { reason: "SOLD_OUT", seen: 1, uncertain: 0, audited: 0 },
            Violation::RejectedDiffers { reason: "USER_LIMIT", seen: 0, uncertain: 0, audited: 1 },
            contradicts("SOLD_OUT", 1, 0),
            contradicts("USER_LIMIT", 0, 1),
        ]
    );
}

#[test]
fn a_grant_audited_on_another_shard_is_a_violation() {
    let violations = violations_after(|scenario| {
        scenario.audit.shards[0].granted = 1;
        scenario.audit.shards[1].granted = 2;
    });
    assert_eq!(
        violations,
        [
            Violation::ShardDiffers { shard_no: 0, seen: 2, granted: 1 },
            Violation::ShardDiffers { shard_no: 1, seen: 1, granted: 2 },
            contradicts("shard 0", 2, 1),
            contradicts("shard 1", 1, 2),
        ]
    );
}

#[test]
fn an_inconsistent_audit_is_a_violation() {
    type Change = fn(&mut Audit);
    let changes: [(Change, &str); 7] = [
        (|audit| audit.balanced = false, "balanced"),
        (|audit| audit.recount.agrees = false, "tallies"),
        (|audit| audit.recount.users_over_limit = 1, "users over the limit"),
        (|audit| audit.users = 4, "more users than grants"),
        (|audit| audit.per_user_limit = 2, "the limit of a user"),
        (|audit| audit.shards[0].remaining = 1, "remaining by shard"),
        (|audit| audit.shards[0].picked = 9, "picked by shard"),
    ];
    for (change, what) in changes {
        assert_eq!(violations_after(|scenario| change(&mut scenario.audit)), [Violation::InconsistentAudit { what }]);
    }
}
