//! Releases that failed while Redis was unreachable, retried when it is back: a request that stays counted could reject
//! its user, and nothing else would correct that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, RedisResult};

use super::commands::{Commands, release_all};
use crate::counters::{Hook, Measure, Subject};

/// About 10 MB. In an outage that fills the queue, further requests stay counted.
const PENDING_MAX: usize = 65_536;
/// Releases per round trip. More would delay the calls of other gateways.
const FLUSH_MAX: usize = 256;

/// The arguments of [`Counters::release`](crate::counters::Counters::release).
pub(super) struct PendingRelease {
    pub(super) hook: Hook,
    pub(super) measures: Vec<Measure>,
    pub(super) subject: Subject,
    pub(super) added: u32,
}

/// First in, first out. A release whose answer was lost is sent twice, which makes counts lower, never higher.
#[derive(Default)]
pub(super) struct ReleaseQueue(Mutex<VecDeque<PendingRelease>>);

impl ReleaseQueue {
    /// `false` when the queue is full.
    pub(super) fn add(&self, pending: PendingRelease) -> bool {
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
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for PendingRelease { hook, measures, subject, added } in &batch {
                pipeline.add_command(commands.release(*hook, measures, subject, *added));
            }
            if let Err(error) = release_all(connection.clone(), pipeline).await {
                self.requeue(batch);
                return Err(error);
            }
            tracing::info!(releases = batch.len(), "flushed queued releases");
        }
    }

    fn pop_batch(&self) -> Vec<PendingRelease> {
        let mut queue = self.lock();
        let count = queue.len().min(FLUSH_MAX);
        queue.drain(..count).collect()
    }

    fn requeue(&self, batch: Vec<PendingRelease>) {
        let mut queue = self.lock();
        batch.into_iter().rev().for_each(|pending| queue.push_front(pending));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PendingRelease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
