//! What could not be given back while Redis was out of reach. It is, when Redis is back: a request
//! that stays counted would turn its user away, and nothing makes up for that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redis::{Pipeline, RedisResult};

use super::commands::{Commands, release_all};
use crate::counters::{Hook, Measure, Subject};

/// Some 10 MB. When Redis is away for longer than that lasts, some stay counted.
const PENDING_MAX: usize = 65_536;
/// In one round trip; other gateways get their turn in between.
const FLUSH_RECORDS_MAX: usize = 256;

pub(super) enum PendingRelease {
    /// From [`Counters::release`](crate::counters::Counters::release).
    Release { hook: Hook, measures: Vec<Measure>, subject: Subject, added: u32 },
    /// From [`Counters::forget`](crate::counters::Counters::forget).
    Forget(Subject),
}

/// First in, first out. That a pending may be paid twice, when only the answer was lost, makes counts
/// lower and never higher.
#[derive(Default)]
pub(super) struct ReleaseQueue(Mutex<VecDeque<PendingRelease>>);

impl ReleaseQueue {
    /// Whether there was room.
    pub(super) fn add(&self, pending: impl ExactSizeIterator<Item = PendingRelease>) -> bool {
        let mut release_queue = self.lock();
        let has_room = release_queue.len() + pending.len() <= PENDING_MAX;
        if has_room {
            release_queue.extend(pending);
        }
        has_room
    }

    /// Pays what is release_queue, or as much as can be.
    pub(super) async fn flush(
        &self,
        connection: &::redis::aio::MultiplexedConnection,
        commands: &Commands,
    ) -> RedisResult<()> {
        loop {
            let pending = self.first();
            if pending.is_empty() {
                return Ok(());
            }
            let mut pipeline = Pipeline::with_capacity(pending.len());
            for pending in &pending {
                pipeline.add_command(match pending {
                    PendingRelease::Release { hook, measures, subject, added } => {
                        commands.release(*hook, measures, subject, *added)
                    }
                    PendingRelease::Forget(subject) => commands.forget(subject),
                });
            }
            if let Err(error) = release_all(connection.clone(), pipeline).await {
                self.put_first(pending);
                return Err(error);
            }
            tracing::info!(pending = pending.len(), "gave back what the counters were not in reach for");
        }
    }

    fn first(&self) -> Vec<PendingRelease> {
        let mut release_queue = self.lock();
        let count = release_queue.len().min(FLUSH_RECORDS_MAX);
        release_queue.drain(..count).collect()
    }

    fn put_first(&self, pending: Vec<PendingRelease>) {
        let mut release_queue = self.lock();
        pending.into_iter().rev().for_each(|pending| release_queue.push_front(pending));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PendingRelease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
