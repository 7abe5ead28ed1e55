//! A gateway is killed in each step, and started again.

use std::time::Instant;

use super::step::{Step, UnderWay};
use super::{CALLED, OTHER, Pair};
use crate::harness::Databases;

/// The step, the gateways that are killed in it, and the states that the rollout may have afterwards. If both gateways do
/// the step, only one of them is killed: they do the same.
const CASES: &[(Step, &[usize], &[&str])] = &[
    // Where the test runs slowly, the checks have ended and the rollout waits to be stored: see the next step.
    (Step::Check, &[CALLED], &["none", "running"]),
    (Step::Check, &[OTHER], &["running"]),
    // The database executes a statement that it has received, also when the client is gone.
    (Step::Start, &[CALLED], &["none", "running"]),
    (Step::Start, &[OTHER], &["running"]),
    (Step::Shadow, &[CALLED], &["running"]),
    (Step::Canary, &[CALLED], &["running"]),
    (Step::Canary, &[OTHER], &["running"]),
    (Step::NextShare, &[OTHER], &["promoted"]),
    (Step::RollBack, &[OTHER], &["rolled-back"]),
    (Step::Abort, &[CALLED], &["aborted", "running"]),
    (Step::Abort, &[OTHER], &["aborted"]),
    (Step::Publish, &[CALLED], &["promoted"]),
    (Step::Publish, &[CALLED, OTHER], &["promoted"]),
    (Step::Finish, &[CALLED], &["promoted"]),
    (Step::Finish, &[CALLED, OTHER], &["promoted"]),
];
/// Restarts and a busy machine are no outage of the ledger.
const LEDGER_SECONDS: u64 = 60;

/// The call of the operator breaks with the gateway, and is answered otherwise.
async fn assert_answered(under_way: UnderWay, killed: &[usize]) {
    let Some(call) = under_way.call else { return };
    match call.await.expect("calling does not panic") {
        Ok(answer) => assert!((200..=201).contains(&answer.status) && !killed.contains(&CALLED), "{answer}"),
        Err(error) => assert!(killed.contains(&CALLED), "{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_in_any_step_leaves_the_same_pipeline_on_both_gateways_and_loses_no_request() {
    let mut pair = Pair::start(Databases::One, LEDGER_SECONDS).await;
    for &(step, killed, states) in CASES {
        let (begun, before, answered) = (Instant::now(), pair.at_rest().await, pair.answered());
        let mut under_way = pair.enter(step, &before).await;
        for &victim in killed {
            pair.cluster.gateways[victim].kill().await;
        }
        under_way.release();
        assert_answered(under_way, killed).await;
        for &victim in killed {
            pair.cluster.gateways[victim].restart().await;
        }
        let after = pair.agreed_since(&before, states).await;
        println!("{step:?}, killed {killed:?}: {}, {:.1?}", after.state_since(&before), begun.elapsed());
        after.assert_active(&before, step.candidate(&before.picker));
        pair.assert_accepted(answered, killed);
        pair.end_rollout(&after).await;
    }
    pair.stop().await;
}
