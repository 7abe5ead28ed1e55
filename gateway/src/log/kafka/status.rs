//! What this process knows of each partition: its end offset, and whether it accepts records.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::batcher::PendingAck;
use crate::coupon::{Offset, PartitionNo};
use crate::log::Gap;

pub(super) struct TopicStatus(Vec<PartitionStatus>);

/// Offsets that were durable before the end went back.
struct Lost {
    offsets: Range<Offset>,
    /// Read twice in a row. A single read may be the answer of a leader that was replaced while it was suspended.
    is_confirmed: bool,
}

#[derive(Default)]
struct PartitionStatus {
    /// The offset after the last record known to be durable.
    end: AtomicU64,
    /// The start and the end that a broker last reported. Unlike `end`, they can go back.
    reported: [AtomicU64; 2],
    /// Set when the end went back.
    lost: Mutex<Option<Lost>>,
    /// Why records appended now would not become durable.
    problem: Mutex<Option<Arc<str>>>,
    /// Every request asks all partitions of its coupon, on all workers: so they take the lock only if there is a problem.
    has_problem: AtomicBool,
    waiting: Mutex<Vec<EndWaiter>>,
}

/// Waits for an end offset that is read after it began to wait.
pub(super) enum EndWaiter {
    Caller(oneshot::Sender<Offset>),
    /// A record that is durable at an unknown offset.
    Record(Box<PendingAck>),
}

impl EndWaiter {
    fn complete(self, end: Offset) {
        match self {
            // The caller may have timed out.
            Self::Caller(sender) => _ = sender.send(end),
            Self::Record(ack) => ack.complete(Ok(end.saturating_sub(1))),
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Caller(sender) => sender.is_closed(),
            Self::Record(ack) => ack.is_abandoned(),
        }
    }
}

impl TopicStatus {
    pub(super) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| PartitionStatus::default()).collect())
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.0.len()).expect("made from a u32")
    }

    /// 0 for a partition that does not exist.
    pub(super) fn end(&self, partition: PartitionNo) -> Offset {
        self.get(partition).map_or(0, |status| status.end.load(Ordering::Relaxed))
    }

    /// Never goes back: reports from the producer and the monitor arrive in any order.
    pub(super) fn advance(&self, partition: PartitionNo, end: Offset) {
        if let Some(status) = self.get(partition) {
            status.end.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// Passes the next end offset that is read to the waiter. As many wait as there are clients.
    pub(super) fn await_end(&self, partition: PartitionNo, waiter: EndWaiter) {
        match self.get(partition) {
            Some(status) => {
                let mut waiting = lock(&status.waiting);
                waiting.retain(|waiter| !waiter.is_abandoned());
                waiting.push(waiter);
            }
            None => waiter.complete(0),
        }
    }

    /// Reads the start and the end offset, for those too who waited for the end before.
    pub(super) fn read_offsets<E>(
        &self,
        partition: PartitionNo,
        read: impl FnOnce() -> Result<[Offset; 2], E>,
    ) -> Result<(), E> {
        let Some(status) = self.get(partition) else { return Ok(()) };
        let mut waiting = std::mem::take(&mut *lock(&status.waiting));
        let durable = status.end.load(Ordering::Relaxed);
        match read() {
            Ok(reported @ [_, end]) => {
                std::iter::zip(&status.reported, reported)
                    .for_each(|(known, offset)| known.store(offset, Ordering::Relaxed));
                let mut lost = lock(&status.lost);
                match &mut *lost {
                    Some(lost) if end < durable => lost.is_confirmed = true,
                    None if end < durable => *lost = Some(Lost { offsets: end..durable, is_confirmed: false }),
                    Some(Lost { is_confirmed: false, .. }) => *lost = None,
                    _ => {}
                }
                drop(lost);
                self.advance(partition, end);
                waiting.into_iter().for_each(|waiter| waiter.complete(end));
                Ok(())
            }
            Err(error) => {
                lock(&status.waiting).append(&mut waiting);
                Err(error)
            }
        }
    }

    /// Offsets that were acknowledged and are gone. New records would get them again, and settlement would take those for
    /// the ones that it has settled: so the partition accepts no records until this process is started again, which
    /// compares the log with the ledger.
    pub(super) fn lost(&self, partition: PartitionNo) -> Option<Range<Offset>> {
        lock(&self.get(partition)?.lost).as_ref().map(|lost| lost.offsets.clone())
    }

    /// What is missing at an offset, by the last report, which may be older than the offset.
    pub(super) fn reported_gap(&self, partition: PartitionNo, from: Offset) -> Option<Gap> {
        let [start, end] = &self.get(partition)?.reported;
        Gap::outside(start.load(Ordering::Relaxed), end.load(Ordering::Relaxed), from)
    }

    pub(super) fn problem(&self, partition: PartitionNo) -> Option<Arc<str>> {
        let status = self.get(partition).filter(|status| status.has_problem.load(Ordering::Relaxed))?;
        lock(&status.problem).clone()
    }

    /// Answers with the problem that it replaces.
    pub(super) fn set_problem(&self, partition: PartitionNo, problem: Option<Arc<str>>) -> Option<Arc<str>> {
        let status = self.get(partition)?;
        let mut known = lock(&status.problem);
        status.has_problem.store(problem.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut known, problem)
    }

    fn get(&self, partition: PartitionNo) -> Option<&PartitionStatus> {
        self.0.get(partition.0 as usize)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PARTITION: PartitionNo = PartitionNo(1);

    #[test]
    fn a_waiter_gets_only_an_end_offset_that_is_read_after_it_asked() {
        let status = TopicStatus::new(2);
        let ask = || {
            let (sender, receiver) = oneshot::channel();
            status.await_end(PARTITION, EndWaiter::Caller(sender));
            receiver
        };
        let early = ask();
        let mut late = None;
        let read = || {
            late = Some(ask());
            Ok::<_, ()>([0, 7])
        };
        assert_eq!(status.read_offsets(PARTITION, read), Ok(()));
        assert_eq!(early.now_or_never(), Some(Ok(7)));
        let mut late = late.expect("asked");
        assert_eq!((&mut late).now_or_never(), None, "the read had begun");

        assert_eq!(status.read_offsets(PARTITION, || Err("no leader")), Err("no leader"));
        assert_eq!((&mut late).now_or_never(), None, "nothing was read");
        assert_eq!(status.read_offsets(PARTITION, || Ok::<_, ()>([0, 9])), Ok(()));
        assert_eq!(late.now_or_never(), Some(Ok(9)));
    }

    #[test]
    fn an_end_that_goes_back_behind_acknowledged_records_is_a_loss_and_a_late_acknowledgement_is_none() {
        let status = TopicStatus::new(2);
        let acknowledged_meanwhile = || {
            status.advance(PARTITION, 9);
            Ok::<_, ()>([0, 7])
        };
        assert_eq!(status.read_offsets(PARTITION, acknowledged_meanwhile), Ok(()));
        assert_eq!(status.lost(PARTITION), None, "the end was read before the acknowledgement");
        let read = |end| assert_eq!(status.read_offsets(PARTITION, || Ok::<_, ()>([0, end])), Ok(()));
        read(7);
        assert_eq!(status.lost(PARTITION), Some(7..9));
        read(9);
        assert_eq!(status.lost(PARTITION), None, "the answer came from a leader that was replaced");
        read(7);
        read(8);
        read(12);
        assert_eq!(status.lost(PARTITION), Some(7..9), "it stays lost, although later records have these offsets");
    }

    #[test]
    fn a_partition_that_does_not_exist_is_empty() {
        let status = TopicStatus::new(2);
        let (sender, receiver) = oneshot::channel();
        status.await_end(PartitionNo(2), EndWaiter::Caller(sender));
        assert_eq!(receiver.now_or_never(), Some(Ok(0)));
    }
}
