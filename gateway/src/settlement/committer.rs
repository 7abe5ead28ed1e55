//! Decides which partitions settle together. On a ledger with one writer, those that wait for their turn share the next
//! transaction: the more of them wait, the fewer commits a record costs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::context::Settlement;
use super::transaction::{Attempt, Part, transact};
use crate::coupon::GroupNo;
use crate::ledger::LedgerError;
use crate::telemetry::SettlementRetried;

type Answer = Result<Attempt, Arc<LedgerError>>;

/// Settles the partitions of one ledger group.
pub(super) struct Committer {
    settlement: Arc<Settlement>,
    group: GroupNo,
    /// Longest first. One part of each partition, and those of revoked partitions until the next turn.
    waiting: Mutex<Vec<Waiting>>,
    /// Whoever holds it settles for all that wait.
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    part: Arc<Part>,
    answer: oneshot::Sender<Answer>,
}

impl Committer {
    pub(super) fn new(settlement: Arc<Settlement>, group: GroupNo) -> Self {
        Self { settlement, group, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Settles a part: alone on a shared ledger, which runs many transactions at once, otherwise with those of other
    /// partitions. Dropped, it may still be settled: the partition's offset tells.
    pub(super) async fn settle(&self, part: &Arc<Part>) -> Answer {
        if part.is_suspect || self.settlement.ledger.is_shared() {
            return self.settle_alone(part).await;
        }
        loop {
            let (answer, answered) = oneshot::channel();
            self.lock_waiting().push(Waiting { part: Arc::clone(part), answer });
            if let Some(answer) = self.wait(answered).await {
                return answer;
            }
        }
    }

    /// Waits for the answer, or for the turn to settle. `None` if the task whose turn it was has ended meanwhile.
    async fn wait(&self, mut answered: oneshot::Receiver<Answer>) -> Option<Answer> {
        tokio::select! {
            biased;
            answer = &mut answered => answer.ok(),
            _turn = self.turn.lock() => loop {
                match answered.try_recv() {
                    Err(TryRecvError::Empty) => self.settle_next().await,
                    answer => break answer.ok(),
                }
            },
        }
    }

    async fn settle_next(&self) {
        let (parts, answers): (Vec<_>, Vec<_>) = self.next().into_iter().map(|next| (next.part, next.answer)).unzip();
        match self.transact(&parts).await {
            Ok(attempts) => answers.into_iter().zip(attempts).for_each(|(to, attempt)| send(to, Ok(attempt))),
            Err(error) if parts.len() == 1 || error.is_transient() => {
                answers.into_iter().for_each(|to| send(to, Err(Arc::clone(&error))));
            }
            // One of the parts has a record that can never be stored. Alone, the others do not fail with it.
            Err(_) => {
                for (to, part) in answers.into_iter().zip(&parts) {
                    send(to, self.settle_alone(part).await);
                }
            }
        }
    }

    async fn settle_alone(&self, part: &Arc<Part>) -> Answer {
        let mut attempts = self.transact(std::slice::from_ref(part)).await?;
        Ok(attempts.pop().expect("one for each part"))
    }

    async fn transact(&self, parts: &[Arc<Part>]) -> Result<Vec<Attempt>, Arc<LedgerError>> {
        let attempts = transact(&self.settlement, self.group, parts).await;
        if attempts.as_ref().is_err_and(LedgerError::is_transient) {
            self.settlement.telemetry.emit(SettlementRetried);
        }
        attempts.map_err(Arc::new)
    }

    /// The parts of the next transaction.
    fn next(&self) -> Vec<Waiting> {
        let mut waiting = self.lock_waiting();
        let mut all = std::mem::take(&mut *waiting);
        // Those of partitions that were revoked before their turn.
        all.retain(|waiting| !waiting.answer.is_closed());
        let (next, later) = share(all, self.settlement.batch_records_max, |waiting| waiting.part.range.len());
        *waiting = later;
        next
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that share a transaction of at most `records_max`, and the others: the first, and each that fits in with those
/// before it. So the first never waits for a smaller one.
pub fn share<T>(waiting: Vec<T>, records_max: u32, records: impl Fn(&T) -> usize) -> (Vec<T>, Vec<T>) {
    let mut room = records_max as usize;
    waiting.into_iter().partition(|next| {
        let left = room.checked_sub(records(next));
        room = left.unwrap_or(room);
        left.is_some()
    })
}

/// Nobody receives it if the partition was revoked meanwhile.
fn send(to: oneshot::Sender<Answer>, answer: Answer) {
    let _ = to.send(answer);
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
