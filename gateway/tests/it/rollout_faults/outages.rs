//! The ledger goes down in each step, for longer than the guard of the rollout allows.

use std::time::{Duration, Instant};

use super::Pair;
use super::step::{Step, UnderWay};
use crate::harness::{Databases, machine, service};

/// The second one: other tests use the first.
const SERVER: &str = "mariadb-2";
/// The least that the guard accepts.
const LEDGER_SECONDS: u64 = 2;

/// What is done to the server, and what undoes it. A server that was killed refuses connections, a suspended one hangs.
type Outage = [&'static str; 2];
const KILLED: Outage = ["kill", "start"];
const SUSPENDED: Outage = ["pause", "resume"];

/// The states that the rollout may have when the ledger is back.
const CASES: &[(Step, Outage, &[&str])] = &[
    // The checks go on if the ledger is back soon enough.
    (Step::Check, KILLED, &["none", "running"]),
    (Step::Start, KILLED, &["none"]),
    (Step::Shadow, SUSPENDED, &["rolled-back"]),
    (Step::Canary, KILLED, &["rolled-back"]),
    (Step::NextShare, KILLED, &["rolled-back"]),
    (Step::RollBack, SUSPENDED, &["rolled-back"]),
    (Step::Abort, KILLED, &["rolled-back"]),
    // The server still executes what it received before.
    (Step::Abort, SUSPENDED, &["aborted", "rolled-back"]),
    (Step::Publish, KILLED, &["promoted"]),
    (Step::Publish, SUSPENDED, &["promoted"]),
    (Step::Finish, KILLED, &["promoted"]),
];

/// The status of the operator's call.
async fn answer(under_way: UnderWay) -> Option<u16> {
    let call = under_way.call?;
    Some(call.await.expect("calling does not panic").expect("there is an answer").status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_down_in_any_step_leaves_the_same_pipeline_on_both_gateways_and_no_request_fails() {
    machine::exclusive();
    service("start", SERVER).await;
    let pair = Pair::start(Databases::Second, LEDGER_SECONDS).await;
    for &(step, [begin, end], states) in CASES {
        let (begun, before, answered) = (Instant::now(), pair.at_rest().await, pair.answered());
        let mut under_way = pair.enter(step, &before).await;
        service(begin, SERVER).await;
        under_way.release();
        tokio::time::sleep(Duration::from_secs(LEDGER_SECONDS)).await;
        pair.wait_until_running(0).await;
        service(end, SERVER).await;
        let answer = answer(under_way).await;
        let after = pair.agreed_since(&before, states).await;
        let state = after.state_since(&before);
        println!("{step:?}, {begin}: {state}, answer {answer:?}, {:.1?}", begun.elapsed());
        let expected = if state == "running" { 201 } else { 503 };
        assert!(answer.is_none_or(|status| status == expected));
        after.assert_active(&before, step.candidate(&before.picker));
        pair.assert_accepted(answered, &[]);
        pair.end_rollout(&after).await;
    }
    pair.stop().await;
}
