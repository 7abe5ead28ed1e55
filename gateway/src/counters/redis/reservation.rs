//! Takes all measures of a hook for a request: with one call to a single Redis, with concurrent calls to the slots of a
//! cluster. Either all of it is reserved, or what was added is released.

use std::sync::Arc;
use std::time::Duration;

use super::nodes::Nodes;
use super::reserve_call::ReserveCalls;
use crate::counters::{Hook, Measure, Measured, Reserved, Subject, Unavailable};

pub(super) async fn reserve(
    nodes: &Arc<Nodes>,
    limit: Duration,
    hook: Hook,
    measures: &[Measure],
    subject: &Subject,
) -> Result<Reserved, Unavailable> {
    let mut calls = ReserveCalls::new(nodes, hook, measures, subject);
    // After an error the calls are dropped, which releases what they added.
    calls.answer(limit).await?;
    if calls.is_key_taken() {
        calls.release_added(limit).await;
        return Ok(Reserved { is_key_taken: true, ..Reserved::default() });
    }
    Ok(merge(measures.len(), calls))
}

fn merge(measures: usize, calls: ReserveCalls) -> Reserved {
    let mut all = Reserved::default();
    all.measured.resize(measures, Measured::Conforming);
    for (group, reserved) in calls.take() {
        all.added |= reserved.added;
        for ((position, _), measured) in group.counters.iter().zip(reserved.measured) {
            all.measured[*position] = measured;
        }
    }
    all
}
