//! Decisions on their way into files and out of them.

mod explanation;
mod recording;
mod segments;

use std::sync::Arc;
use std::time::Duration;

use super::{Decision, Outcome, Step, Steps, Trace};
use crate::counters::{Measure, Measured, PerMeasure, Scope};
use crate::coupon::{Arm, RequestId};
use crate::policy::{ConfiguredPolicy, Decided, Digest, LimitVerdict, Load, Rejection, Request, Shaping, Shard, Usage};

fn policy(name: &str, measures: Vec<Measure>) -> Arc<ConfiguredPolicy> {
    Arc::new(ConfiguredPolicy { policy: name.to_owned(), digest: Digest::of(name.as_bytes()), measures })
}

fn decided<V>(verdict: V) -> Decided<V> {
    Decided { verdict: Ok(verdict), failure: None, took: Duration::from_nanos(700), processor_time: None }
}

fn request(user_id: u64) -> Request {
    Request { coupon_id: 104, policy_id: 21, user_id, arrived_at_ms: 1_800_000_000_000, entropy: u64::MAX }
}

fn shards() -> Vec<Shard> {
    (0..2).map(|shard_no| Shard { shard_no, remaining: 40, unsettled: 3, lag_records: 5 }).collect()
}

fn shape(trace: &mut Trace, verdict: Shaping) {
    let measures = vec![Measure::Sequence { scope: Scope::Gateway }];
    let measured = PerMeasure::from_slice(&[Measured::Sequence(7)]);
    let load = Load { arrivals_per_second: 0.1 + 0.2, ..Load::default() };
    trace.add(&policy("token-bucket", measures), Some(measured), || load, &decided(verdict));
}

fn limit(trace: &mut Trace, verdict: LimitVerdict) {
    let measures = vec![Measure::Count { scope: Scope::UserOfCoupon, window_ms: 0 }];
    let measured = PerMeasure::from_slice(&[Measured::Count(2)]);
    let usage = Usage { per_user_limit: 1, total: 100, remaining: 80 };
    trace.add(&policy("quota", measures), Some(measured), || usage, &decided(verdict));
}

fn pick(trace: &mut Trace, shard_no: u32) {
    trace.add(&policy("random", Vec::new()), Some(PerMeasure::new()), shards, &decided(shard_no));
}

fn rejection() -> Rejection {
    Rejection { code: "USER_LIMIT".to_owned(), retry_after_ms: None, message: None, link: None }
}

/// Lets every hook decide.
fn accept(trace: &mut Trace) {
    shape(trace, Shaping::Pass);
    limit(trace, LimitVerdict::Admit);
    pick(trace, 1);
}

fn accepted(request_id: RequestId, request: Request) -> Decision {
    let mut trace = Trace::new(|_| true);
    accept(&mut trace);
    Decision { request_id, outcome: Outcome::Accepted, generation: 3, arm: Arm::Active, request, steps: trace.steps }
}

fn step_of_picker(steps: &Steps) -> &Step<Vec<Shard>> {
    steps.shard_picker.as_ref().expect("the picker was asked")
}

#[test]
fn a_decision_reads_back_from_its_line_exactly() {
    let decision = accepted(RequestId::new(), request(7));
    let line = serde_json::to_string(&decision).expect("JSON");
    assert!(!line.contains('\n'), "{line}");
    assert_eq!(serde_json::from_str::<Decision>(&line).expect("reads back"), decision);
    let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["steps"]["shard-picker"]["verdict"], 1);
    assert_eq!(json["steps"]["user-limit"]["measured"], serde_json::json!([{ "count": 2 }]));
    assert_eq!(step_of_picker(&decision.steps).nanoseconds, 700);
}

#[test]
fn a_refusal_that_was_recorded_before_there_were_messages_reads_back_and_is_written_alike() {
    let line = r#"{"refuse":{"code":"USER_LIMIT","retryAfterMs":null}}"#;
    let verdict = serde_json::from_str::<LimitVerdict>(line).expect("reads back");
    assert_eq!(verdict, LimitVerdict::Refuse(rejection()));
    assert_eq!(serde_json::to_string(&verdict).expect("JSON"), line);
}

#[test]
fn only_a_decision_of_the_canary_names_its_arm() {
    let active = accepted(RequestId::new(), request(7));
    let canary = Decision { arm: Arm::Canary, ..active.clone() };
    for (decision, arm) in [(active, None), (canary, Some("canary"))] {
        let json = serde_json::to_value(&decision).expect("JSON");
        assert_eq!(json.get("arm").and_then(serde_json::Value::as_str), arm);
        assert_eq!(serde_json::from_value::<Decision>(json).expect("reads back"), decision);
    }
}
