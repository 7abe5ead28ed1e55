//! Decisions in words.

use std::time::Duration;

use super::super::{Decision, Outcome, Trace, explain};
use super::{accepted, limit, policy, rejection, request, shape, shards};
use crate::counters::Hook;
use crate::coupon::{Arm, RequestId};
use crate::policy::{Decided, LimitVerdict, PolicyUnavailable, Rejection, Shaping};
use crate::telemetry::FailureReason;

fn refused(trace: Trace) -> Decision {
    let outcome = Outcome::Refused;
    let (request_id, arm) = (RequestId::new(), Arm::Active);
    Decision { request_id, outcome, generation: 3, arm, request: request(7), steps: trace.steps }
}

#[test]
fn an_accepted_request_is_explained_hook_by_hook() {
    assert_eq!(
        explain(&accepted(RequestId::new(), request(7))),
        [
            "User 7 asked for coupon 104 at 2027-01-15T08:00:00Z. The policies accepted it, in generation 3.",
            "rate-shaper: token-bucket (96e56640e1f3) let it pass. It was given: number 7 in the sequence of all gateways, \
             0 requests in flight, 0 arrivals and 0 grants a second, 0 records that wait for settlement, for up to 0.0 s.",
            "user-limit: quota (b878a6801d9a) admitted the user. It was given: request number 2 of the user for this \
             coupon in the campaign, a limit of 1 a user, 80 of 100 coupons left.",
            "shard-picker: random (a441b15fe9a3) sent it to shard 1. It was given: 2 shards, of which shard 1 has 40 \
             coupons left, 3 requests that are not settled, and 5 such records in its partition.",
        ]
    );
}

#[test]
fn a_decision_of_the_canary_says_so() {
    let decision = Decision { arm: Arm::Canary, ..accepted(RequestId::new(), request(7)) };
    let words = explain(&decision);
    assert!(words[0].ends_with("The policies accepted it, in generation 3, canary arm."), "{words:?}");
}

#[test]
fn a_refusal_names_the_code_and_what_was_counted() {
    let mut trace = Trace::new(|_| true);
    shape(&mut trace, Shaping::Delay(120));
    limit(&mut trace, LimitVerdict::Refuse(rejection()));
    let words = explain(&refused(trace));
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[0].contains("It was refused"), "{words:?}");
    assert!(words[1].contains("delayed it by 120 ms"), "{words:?}");
    let expected =
        "refused it as USER_LIMIT. It was given: request number 2 of the user for this coupon in the campaign";
    assert!(words[2].contains(expected), "{words:?}");
}

#[test]
fn a_refusal_tells_what_the_client_was_told() {
    let mut trace = Trace::new(|_| true);
    let told = Rejection { retry_after_ms: Some(40), message: Some("one each".to_owned()), ..rejection() };
    shape(&mut trace, Shaping::Shed(told));
    let words = explain(&refused(trace));
    let expected = "refused it as USER_LIMIT, with a retry after 40 ms, with the message `one each`. It was given";
    assert!(words[1].contains(expected), "{words:?}");
}

#[test]
fn a_policy_that_gave_no_decision_is_named_with_its_reason_and_what_decided_instead() {
    let (policy, took) = (policy("random", Vec::new()), Duration::from_millis(5));
    let failure = Some(FailureReason::Deadline);
    let mut trace = Trace::new(|_| true);
    trace.add(&policy, None, shards, &Decided { verdict: Ok(0), failure, took, processor_time: None });
    let words = explain(&refused(trace));
    assert!(words[1].contains("gave no decision (deadline); on_failure decided, and sent it to shard 0"), "{words:?}");
    assert!(words[1].contains("no measures, because the counters were unavailable"), "{words:?}");
    let mut trace = Trace::new(|_| true);
    let verdict = Err(PolicyUnavailable { hook: Hook::ShardPicker });
    trace.add(&policy, None, shards, &Decided { verdict, failure, took, processor_time: None });
    let words = explain(&refused(trace));
    assert!(words[1].contains("gave no decision (deadline), and on_failure refuses then"), "{words:?}");
}
