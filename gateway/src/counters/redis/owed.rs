//! What could not be given back while Redis was out of reach. It is, when Redis is back: a request
//! that stays counted would turn its user away, and nothing makes up for that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redis::{Pipeline, RedisResult};

use super::commands::{Commands, give_all_back};
use crate::counters::{Hook, Measure, Subject};

/// Some 10 MB. When Redis is away for longer than that lasts, some stay counted.
const DEBTS_MAX: usize = 65_536;
/// In one round trip; other gateways get their turn in between.
const PAID_AT_ONCE: usize = 256;

pub(super) enum Debt {
    /// From [`Counters::give_back`](crate::counters::Counters::give_back).
    GiveBack { hook: Hook, measures: Vec<Measure>, subject: Subject, added: u32 },
    /// From [`Counters::forget`](crate::counters::Counters::forget).
    Forget(Subject),
}

/// First in, first out. That a debt may be paid twice, when only the answer was lost, makes counts
/// lower and never higher.
#[derive(Default)]
pub(super) struct Owed(Mutex<VecDeque<Debt>>);

impl Owed {
    /// Whether there was room.
    pub(super) fn add(&self, debts: impl ExactSizeIterator<Item = Debt>) -> bool {
        let mut owed = self.lock();
        let has_room = owed.len() + debts.len() <= DEBTS_MAX;
        if has_room {
            owed.extend(debts);
        }
        has_room
    }

    /// Pays what is owed, or as much as can be.
    pub(super) async fn pay(
        &self,
        connection: &::redis::aio::MultiplexedConnection,
        commands: &Commands,
    ) -> RedisResult<()> {
        loop {
            let debts = self.first();
            if debts.is_empty() {
                return Ok(());
            }
            let mut pipeline = Pipeline::with_capacity(debts.len());
            for debt in &debts {
                pipeline.add_command(match debt {
                    Debt::GiveBack { hook, measures, subject, added } => {
                        commands.give_back(*hook, measures, subject, *added)
                    }
                    Debt::Forget(subject) => commands.forget(subject),
                });
            }
            if let Err(error) = give_all_back(connection.clone(), pipeline).await {
                self.put_first(debts);
                return Err(error);
            }
            tracing::info!(debts = debts.len(), "gave back what the counters were not in reach for");
        }
    }

    fn first(&self) -> Vec<Debt> {
        let mut owed = self.lock();
        let count = owed.len().min(PAID_AT_ONCE);
        owed.drain(..count).collect()
    }

    fn put_first(&self, debts: Vec<Debt>) {
        let mut owed = self.lock();
        debts.into_iter().rev().for_each(|debt| owed.push_front(debt));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Debt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
