//! Takes all measures of a hook for a request: with one call to a single Redis, with concurrent calls to the slots of a
//! cluster. Either all of it is reserved, or what was added is released.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::nodes::Nodes;
use super::reserve_call::ReserveCall;
use crate::counters::{Hook, Measure, Measured, Reserved, Subject, Unavailable};

pub(super) async fn reserve(
    nodes: &Arc<Nodes>,
    limit: Duration,
    hook: Hook,
    measures: &[Measure],
    subject: &Subject,
) -> Result<Reserved, Unavailable> {
    let groups = nodes.server.keys.groups(hook, measures, subject);
    let mut calls: Vec<_> = groups.into_iter().map(|group| ReserveCall::new(nodes, group, subject)).collect();
    for call in &calls {
        nodes.reach(call.slot)?; // while one is known to be down, the others are not called in vain
    }
    // After an error the calls are dropped, which releases what they added.
    try_join_all(calls.iter_mut().map(|call| call.answer(limit))).await?;
    if calls.iter().any(ReserveCall::is_key_taken) {
        join_all(calls.iter_mut().map(|call| call.release_added(limit))).await;
        return Ok(Reserved { is_key_taken: true, ..Reserved::default() });
    }
    Ok(merge(measures.len(), calls))
}

fn merge(measures: usize, calls: Vec<ReserveCall>) -> Reserved {
    let mut all = Reserved::default();
    all.measured.resize(measures, Measured::Conforming);
    for (group, reserved) in calls.into_iter().filter_map(ReserveCall::take) {
        all.added |= reserved.added;
        for ((position, _), measured) in group.counters.iter().zip(reserved.measured) {
            all.measured[*position] = measured;
        }
    }
    all
}
