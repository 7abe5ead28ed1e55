//! Releases that failed while Redis was unreachable, retried when it is back: a request that stays counted could reject
//! its user, and nothing else would correct that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redis::RedisResult;
use ::redis::aio::MultiplexedConnection;

use super::commands::{Commands, RELEASE, run};
use super::release::{REQUESTS_PER_CALL, Release};

/// About 10 MB. In an outage that fills the queue, further requests stay counted.
const PENDING_MAX: usize = 65_536;

/// First in, first out. A release whose answer was lost is sent twice, which makes counts lower, never higher.
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

    /// Sends the queued releases until the queue is empty or a call fails; what failed stays queued.
    pub(super) async fn flush(&self, connection: &MultiplexedConnection, commands: &Commands) -> RedisResult<()> {
        loop {
            let batch = self.pop_batch();
            if batch.is_empty() {
                return Ok(());
            }
            if let Err(error) = run::<()>(connection.clone(), &RELEASE, commands.release(&batch)).await {
                self.requeue(batch);
                return Err(error);
            }
            tracing::info!(releases = batch.len(), "flushed queued releases");
        }
    }

    fn pop_batch(&self) -> Vec<Release> {
        let mut queue = self.lock();
        let count = queue.len().min(REQUESTS_PER_CALL);
        queue.drain(..count).collect()
    }

    fn requeue(&self, batch: Vec<Release>) {
        let mut queue = self.lock();
        batch.into_iter().rev().for_each(|pending| queue.push_front(pending));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Release>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
