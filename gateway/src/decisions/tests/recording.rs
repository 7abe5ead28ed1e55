//! Which requests are sampled, and that a sample is lost rather than waited for.

use super::super::segments::Segments;
use super::super::writer::write;
use super::super::{Decision, Options, Outcome, Reader, Recorder, Trace};
use super::{accept, accepted, limit, pick, rejection, request, shape, step_of_picker};
use crate::coupon::{Arm, DecidedBy, RequestId};
use crate::policy::{LimitVerdict, Shaping};
use crate::telemetry::Telemetry;

const REQUESTS: usize = 20_000;
const CANARY: DecidedBy = DecidedBy { generation: 1, arm: Arm::Canary };

fn options(sample: f64, sample_refusals: f64) -> Options {
    Options { sample, sample_refusals, ..Options::default() }
}

fn refuse(trace: &mut Trace) {
    shape(trace, Shaping::Pass);
    limit(trace, LimitVerdict::Refuse(rejection()));
}

fn count(telemetry: &Telemetry, series: &str) -> u64 {
    let metrics = String::from_utf8(telemetry.render()).expect("text");
    let line = metrics.lines().find(|line| line.starts_with(series)).expect("the series exists");
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// What is recorded of requests that are decided like this.
fn recorded(options: &Options, requests: usize, decide: fn(&mut Trace)) -> Vec<Decision> {
    let (recorder, mut queue) = Recorder::new(options, &Telemetry::new());
    let mut decisions = Vec::new();
    for _ in 0..requests {
        let id = RequestId::new();
        let mut trace = recorder.trace(id);
        decide(&mut trace);
        recorder.record(id, CANARY, &request(7), trace);
        decisions.extend(queue.try_recv());
    }
    decisions
}

#[test]
fn accepted_and_refused_requests_have_rates_of_their_own() {
    assert_eq!(recorded(&options(1.0, 0.0), 100, accept).len(), 100);
    assert_eq!(recorded(&options(1.0, 0.0), 100, refuse).len(), 0);
    assert_eq!(recorded(&options(0.0, 1.0), 100, accept).len(), 0);
    let refused = recorded(&options(0.0, 1.0), 100, refuse);
    assert_eq!(refused.len(), 100);
    assert!(refused.iter().all(|decision| decision.outcome == Outcome::Refused));
    assert_eq!((refused[0].generation, refused[0].arm), (CANARY.generation, CANARY.arm));
    assert!(refused[0].steps.shard_picker.is_none(), "it was not asked");
}

#[test]
fn a_request_that_ends_between_two_hooks_has_no_decision() {
    let shaped_only = |trace: &mut Trace| shape(trace, Shaping::Pass);
    assert_eq!(recorded(&options(1.0, 1.0), 10, shaped_only).len(), 0);
}

#[test]
fn the_sample_has_its_share_and_does_not_favour_a_choice_by_entropy() {
    let quarter = |place: u64| (place >> 62) as usize;
    let sampled: Vec<_> = recorded(&options(0.1, 0.0), REQUESTS, accept);
    let share = sampled.len() as f64 / REQUESTS as f64;
    assert!((0.08..0.12).contains(&share), "{share}");
    let mut quarters = [0_usize; 4];
    for decision in &sampled {
        quarters[quarter(decision.request_id.entropy())] += 1;
    }
    let even = sampled.len() / 4;
    assert!(quarters.iter().all(|quarter| quarter.abs_diff(even) < even / 4), "{quarters:?}");
}

#[test]
fn every_gateway_samples_the_same_requests() {
    let [one, other] = [(); 2].map(|()| Recorder::new(&options(0.5, 0.0), &Telemetry::new()).0);
    for _ in 0..100 {
        let id = RequestId::new();
        let [one, other] = [&one, &other].map(|recorder| {
            let mut trace = recorder.trace(id);
            accept(&mut trace);
            trace.outcome()
        });
        assert_eq!(one, other);
    }
}

#[test]
fn a_full_queue_loses_decisions_and_counts_them() {
    let telemetry = Telemetry::new();
    let (recorder, queue) = Recorder::new(&options(1.0, 0.0), &telemetry);
    let capacity = queue.capacity();
    for _ in 0..capacity + 3 {
        let id = RequestId::new();
        let mut trace = recorder.trace(id);
        accept(&mut trace);
        recorder.record(id, CANARY, &request(7), trace);
    }
    assert_eq!(count(&telemetry, "sluice_decisions_lost_total{reason=\"queue_full\"}"), 3);
}

#[tokio::test]
async fn a_disk_that_fails_loses_decisions_and_counts_them_until_it_works_again() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let dir = data.path().join("decisions");
    // No file can be created in what is no folder.
    std::fs::write(&dir, "").expect("writes");
    let telemetry = Telemetry::new();
    let (recorder, queue) = Recorder::new(&options(1.0, 0.0), &telemetry);
    let writing =
        tokio::spawn(write(queue, Segments::new(&dir, 1 << 20, Options::default().keep()), telemetry.clone()));
    let record = |user| {
        let id = RequestId::new();
        let mut trace = recorder.trace(id);
        shape(&mut trace, Shaping::Pass);
        limit(&mut trace, LimitVerdict::Admit);
        pick(&mut trace, 0);
        recorder.record(id, CANARY, &request(user), trace);
        id
    };
    record(1);
    while count(&telemetry, "sluice_decisions_lost_total{reason=\"write_failed\"}") < 1 {
        tokio::task::yield_now().await;
    }
    std::fs::remove_file(&dir).expect("removes");
    let id = record(2);
    drop(recorder);
    writing.await.expect("ends with the recorder");
    assert_eq!(count(&telemetry, "sluice_decisions_recorded_total"), 1);
    let found = Reader::new(&dir).find(id).expect("reads").expect("is recorded");
    assert_eq!((found.request.user_id, step_of_picker(&found.steps).verdict), (2, Some(0)));
    assert_eq!(Reader::new(&dir).find(accepted(RequestId::new(), request(1)).request_id).expect("reads"), None);
}
