//! Replays of recordings that are made here, with policies of this repository and with shard pickers in WebAssembly text.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use super::{Instances, ReplayError, Report, replay};
use crate::counters::{Measure, Scope};
use crate::coupon::{Arm, RequestId};
use crate::decisions::{Decision, Outcome, Step, Steps};
use crate::policy::{
    CompilerProgram, ConfiguredPolicy, Digest, LoadError, MeteredPolicy, OfflineHost, Options, Request, Shard,
};

const DECISIONS: u64 = 3000;
const SHARDS: u32 = 4;

/// Picks the number of the call modulo 2: it keeps a count.
const COUNTS: &str = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.rem_u (i32.sub (global.get $calls) (i32.const 1)) (i32.const 2))";
const PICKS_0: &str = "(i32.const 0)";
const LOOPS: &str = "(loop $again (br $again)) (i32.const 0)";

fn guest(pick: &str) -> Vec<u8> {
    let core = format!(
        r#"(core module $m
            (memory (export "memory") 1)
            (global $calls (mut i32) (i32.const 0))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "configure") (param i32 i32) (result i32) i32.const 16)
            (func (export "pick") (param i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) {pick}))"#
    );
    let world = include_str!("../../tests/common/shard_picker.wat");
    wat::parse_str(format!("(component {core} {world})")).expect("valid WebAssembly text")
}

fn built(policy: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(format!("{policy}.wasm"));
    std::fs::read(path).expect("built with policies/build")
}

fn load(component: Vec<u8>) -> Result<MeteredPolicy<Vec<Shard>>, LoadError> {
    let options = Options { compiler: CompilerProgram::InProcess, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(OfflineHost::new(&options).load_metered(component, &Map::new()))
}

fn request(user_id: u64) -> Request {
    Request { coupon_id: 104, policy_id: 21, user_id, arrived_at_ms: 1, entropy: user_id.wrapping_mul(0x9e37_79b9) }
}

/// A decision in which shard 0 was picked.
fn decision(user_id: u64, measures: Vec<Measure>) -> Decision {
    let shard = |shard_no| Shard { shard_no, remaining: 9, unsettled: 0, lag_records: 0 };
    let policy = ConfiguredPolicy { policy: "before".to_owned(), digest: Digest::of(b"before"), measures };
    let step = Step {
        policy: Arc::new(policy),
        measured: Some([].into_iter().collect()),
        context: (0..SHARDS).map(shard).collect(),
        verdict: Some(0),
        failure: None,
        nanoseconds: 1,
    };
    let steps = Steps { shard_picker: Some(step), ..Steps::default() };
    let request = request(user_id);
    let request_id = RequestId::from(u128::from(user_id).to_be_bytes());
    Decision { request_id, outcome: Outcome::Accepted, generation: 1, arm: Arm::Active, request, steps }
}

fn lines(decisions: impl IntoIterator<Item = Decision>) -> Vec<u8> {
    let line = |decision| serde_json::to_string(&decision).expect("JSON") + "\n";
    decisions.into_iter().map(line).collect::<String>().into_bytes()
}

fn recording() -> Vec<u8> {
    lines((1..=DECISIONS).map(|user| decision(user, Vec::new())))
}

fn run(component: Vec<u8>, recording: &[u8], instances: Instances, threads: usize) -> Report {
    replay(recording, &load(component).expect("loads"), instances, threads, None).expect("replays")
}

#[test]
fn a_policy_that_decides_as_before_changes_nothing() {
    for instances in [Instances::Fresh, Instances::Warm] {
        let report = run(guest(PICKS_0), &recording(), instances, 2);
        assert_eq!((report.decisions, report.changed, report.stateful), (DECISIONS, 0, 0));
        assert!(report.differences.is_empty() && report.failures.is_empty());
    }
}

#[test]
fn the_same_recording_gives_the_same_bytes_on_any_number_of_threads() {
    let recording = recording();
    let reports = [1, 2, 3].map(|threads| run(built("random"), &recording, Instances::Fresh, threads));
    assert!(reports[0].fuel.total > 0 && reports[0].fuel.max >= reports[0].fuel.median);
    for report in &reports[1..] {
        assert_eq!(report.json(), reports[0].json());
        assert_eq!(report.html(), reports[0].html());
    }
}

#[test]
fn changed_decisions_are_counted_and_the_first_ten_are_shown_in_full() {
    let report = run(built("random"), &recording(), Instances::Fresh, 2);
    let on_shard = |row: usize| (report.shards[row].before, report.shards[row].after);
    assert_eq!(report.shards.len(), SHARDS as usize);
    assert_eq!(on_shard(0).0, DECISIONS);
    assert_eq!(report.shards.iter().map(|row| row.after).sum::<u64>(), DECISIONS);
    assert_eq!(report.changed, DECISIONS - on_shard(0).1);
    let first: Vec<_> = report.differences.iter().map(|difference| difference.line).collect();
    assert!(first.len() == 10 && first.is_sorted(), "{first:?}");
    let difference = &report.differences[0];
    assert_eq!(difference.request["userId"], difference.line);
    assert_eq!((&difference.before, difference.context.as_array().map(Vec::len)), (&json!(0), Some(4)));
    assert!(report.html().contains("Spread over shards"));
}

#[test]
fn a_policy_that_keeps_state_between_its_calls_is_reported() {
    let fresh = run(guest(COUNTS), &recording(), Instances::Fresh, 2);
    assert_eq!((fresh.changed, fresh.stateful), (0, DECISIONS / 2), "the first call of an instance picks 0");
    // The last chunk has an odd number of decisions, so only its second pass is shifted.
    let odd = lines((1..=1023).map(|user| decision(user, Vec::new())));
    assert_eq!(run(guest(COUNTS), &odd, Instances::Warm, 1).stateful, 1023);
}

#[test]
fn a_policy_that_loops_is_ended_and_counted() {
    let few = lines((1..=3).map(|user| decision(user, Vec::new())));
    let report = run(guest(LOOPS), &few, Instances::Fresh, 1);
    let [failures] = &report.failures[..] else { panic!("{:?}", report.failures) };
    assert_eq!((failures.decision.as_str(), failures.before, failures.after), ("deadline", 0, 3));
    assert_eq!(report.changed, 3);
}

#[test]
fn decisions_that_the_policy_cannot_judge_are_skipped() {
    let sequence = vec![Measure::Sequence { scope: Scope::Coupon }];
    let mut others = vec![decision(1, sequence), decision(2, Vec::new()), decision(3, Vec::new())];
    others[1].steps.shard_picker = None;
    if let Some(step) = &mut others[2].steps.shard_picker {
        step.measured = None;
    }
    let report = run(guest(PICKS_0), &lines(others), Instances::Fresh, 1);
    let skipped: Vec<_> = report.skipped.iter().map(|row| (row.because, row.decisions)).collect();
    assert_eq!(skipped, [("hook not asked", 1), ("counters unavailable", 1), ("other measures", 1)]);
    assert_eq!(report.decisions, 0);
}

#[test]
fn a_last_line_that_is_cut_off_is_ignored_and_any_other_broken_line_is_named() {
    let mut recording = lines((1..=2).map(|user| decision(user, Vec::new())));
    assert_eq!(run(guest(PICKS_0), &recording[..recording.len() - 1], Instances::Fresh, 1).decisions, 2, "it is whole");
    recording.extend(b"{\"requestId\":");
    assert_eq!(run(guest(PICKS_0), &recording, Instances::Fresh, 1).decisions, 2);
    recording.push(b'\n');
    let error = replay(&recording[..], &load(guest(PICKS_0)).expect("loads"), Instances::Fresh, 1, None);
    assert!(matches!(error, Err(ReplayError::Line { line: 3, .. })), "{error:?}");
}

#[test]
fn a_policy_that_does_not_decide_all_in_time_is_stopped_within_one_call() {
    let (looping, recording) =
        (load(guest(LOOPS)).expect("loads"), lines((1..=DECISIONS).map(|user| decision(user, Vec::new()))));
    for instances in [Instances::Fresh, Instances::Warm] {
        let begun = Instant::now();
        let stopped = replay(&recording[..], &looping, instances, 1, Some(begun + Duration::from_millis(100)));
        assert!(matches!(stopped, Err(ReplayError::Deadline)), "{stopped:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "all of them take minutes: {:?}", begun.elapsed());
    }
}
