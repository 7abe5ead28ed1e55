//! Releases that failed while Redis was unreachable, retried when it is back: a request that stays counted could reject
//! its user, and nothing else would correct that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::release::{REQUESTS_PER_CALL, Release};

/// About 15 MB. In an outage that fills the queue, further requests stay counted.
const PENDING_MAX: usize = 65_536;

/// First in, first out. A release whose answer was lost is sent twice, which makes counts lower, never higher. A key that
/// another attempt holds stays held.
#[derive(Default)]
pub(super) struct ReleaseQueue(Mutex<VecDeque<Release>>);

impl ReleaseQueue {
    /// `false` when the queue is full.
    pub(super) fn add(&self, pending: Release) -> bool {
        let mut queue = self.lock();
        let has_room = queue.len() < PENDING_MAX;
        if has_room {
            queue.push_back(pending);
        }
        has_room
    }

    /// Removes those that were queued first.
    pub(super) fn take_batch(&self) -> Vec<Release> {
        let mut queue = self.lock();
        let count = queue.len().min(REQUESTS_PER_CALL);
        queue.drain(..count).collect()
    }

    /// Queues at the end what failed again, so that a node that stays down does not hold up the releases of the others.
    pub(super) fn put_back(&self, failed: Vec<Release>) {
        self.lock().extend(failed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Release>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
