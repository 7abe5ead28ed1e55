//! Records of a partition go in groups: while one is on its way, the next gathers.
//!
//! The client library would do the same by itself, for it never has a second batch of a partition on its way,
//! but meanwhile its threads ask without a pause whether they may go on, and leave nothing of a small machine to
//! the brokers that are to answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::coupon::Offset;
use crate::log::{Ack, AckSender, AppendError, Record};

/// About a third of the largest batch, at the size of the usual request.
const GROUP_RECORDS_MAX: usize = 1024;
/// Over all partitions, as many as a gateway has requests on their way: a record stays though its client hung up.
const GATHERING_RECORDS_MAX: usize = 8192;

/// Somebody who waits for a record to become durable.
pub(super) struct Waiting {
    pub(super) since: Instant,
    answer: AckSender,
}

impl Waiting {
    pub(super) fn pair() -> (Box<Self>, Ack) {
        let (answer, ack) = Ack::pair();
        (Box::new(Self { since: Instant::now(), answer }), ack)
    }

    pub(super) fn answer(self, answer: Result<Offset, AppendError>) {
        // A client that is gone needs no answer; its record is settled all the same.
        let _ = self.answer.send(answer);
    }
}

pub(super) type Group = VecDeque<(Record, Box<Waiting>)>;

#[derive(Default)]
struct PartitionQueueState {
    /// Records of the group on its way that are not answered.
    unanswered: usize,
    /// One of them was given up: so are those that waited for it, and their clients hear of it no later.
    is_given_up: bool,
    gathering: Group,
}

/// The batcher of all partitions.
pub(super) struct Batcher {
    batcher: Vec<Mutex<PartitionQueueState>>,
    /// Records that gather, in all of them.
    gathering: AtomicUsize,
    /// Told of each lane that is free for a group that gathered.
    free: Sender<usize>,
}

/// What becomes of a record that is to be appended.
pub(super) enum Entered {
    /// Nothing is before it: it is a group by itself, to be sent now.
    First(Record, Box<Waiting>),
    /// It waits for the group before it.
    Gathering,
}

impl Batcher {
    pub(super) fn new(partitions: usize) -> (Self, Receiver<usize>) {
        let (free, freed) = channel();
        let batcher = std::iter::repeat_with(Mutex::default).take(partitions).collect();
        (Self { batcher, gathering: AtomicUsize::new(0), free }, freed)
    }

    pub(super) fn enter(
        &self,
        partition: usize,
        record: Record,
        waiting: Box<Waiting>,
    ) -> Result<Entered, AppendError> {
        let mut lane = self.lane(partition);
        if lane.unanswered == 0 && lane.gathering.is_empty() {
            lane.unanswered = 1;
            return Ok(Entered::First(record, waiting));
        }
        if self.gathering.fetch_add(1, Ordering::Relaxed) >= GATHERING_RECORDS_MAX {
            self.gathering.fetch_sub(1, Ordering::Relaxed);
            return Err(AppendError::Full);
        }
        lane.gathering.push_back((record, waiting));
        Ok(Entered::Gathering)
    }

    /// A record of the group on its way was answered, or not even sent.
    pub(super) fn answered(&self, partition: usize, is_given_up: bool) {
        let mut lane = self.lane(partition);
        lane.is_given_up |= is_given_up;
        lane.unanswered -= 1;
        if lane.unanswered == 0 {
            let is_given_up = std::mem::take(&mut lane.is_given_up);
            let given_up = if is_given_up { std::mem::take(&mut lane.gathering) } else { Group::new() };
            self.gathering.fetch_sub(given_up.len(), Ordering::Relaxed);
            if !lane.gathering.is_empty() {
                // Nobody sends any more.
                let _ = self.free.send(partition);
            }
            drop(lane);
            for (_, waiting) in given_up {
                waiting.answer(Err(AppendError::Failed("the records before it were given up".into())));
            }
        }
    }

    /// The group that gathered, to be sent now.
    pub(super) fn next_group(&self, partition: usize) -> Group {
        let mut lane = self.lane(partition);
        let records = lane.gathering.len().min(GROUP_RECORDS_MAX);
        lane.unanswered = records;
        self.gathering.fetch_sub(records, Ordering::Relaxed);
        lane.gathering.drain(..records).collect()
    }

    pub(super) fn are_empty(&self) -> bool {
        (0..self.batcher.len())
            .map(|partition| self.lane(partition))
            .all(|lane| lane.unanswered == 0 && lane.gathering.is_empty())
    }

    fn lane(&self, partition: usize) -> MutexGuard<'_, PartitionQueueState> {
        self.batcher[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Headers;

    fn record(key: usize) -> Record {
        Record { key: key.to_string(), headers: Headers::default(), value: Vec::new() }
    }

    /// Enters so many records, of which only the first may go at once.
    fn filled(batcher: &Batcher, records: usize) -> Vec<Ack> {
        let enter = |key| {
            let (waiting, ack) = Waiting::pair();
            let entered = batcher.enter(0, record(key), waiting).expect("there is room");
            assert_eq!(matches!(entered, Entered::First(..)), key == 0);
            ack
        };
        (0..records).map(enter).collect()
    }

    fn keys(group: &Group) -> Vec<usize> {
        group.iter().map(|(record, _)| record.key.parse().expect("a number")).collect()
    }

    #[test]
    fn what_gathers_goes_in_order_once_the_group_before_is_answered() {
        let (batcher, freed) = Batcher::new(2);
        let _acks = filled(&batcher, 2 + GROUP_RECORDS_MAX);
        assert!(freed.try_recv().is_err(), "the first is on its way");
        batcher.answered(0, false);
        assert_eq!(freed.try_recv(), Ok(0));
        let group = batcher.next_group(0);
        assert_eq!(keys(&group), (1..=GROUP_RECORDS_MAX).collect::<Vec<_>>());
        for _ in 0..GROUP_RECORDS_MAX {
            assert!(freed.try_recv().is_err(), "not all of the group is answered");
            batcher.answered(0, false);
        }
        assert_eq!(freed.try_recv(), Ok(0));
        assert_eq!(keys(&batcher.next_group(0)), [1 + GROUP_RECORDS_MAX]);
        assert!(!batcher.are_empty());
        batcher.answered(0, false);
        assert!(batcher.are_empty() && freed.try_recv().is_err());
    }

    #[test]
    fn who_waits_for_what_is_given_up_is_told_at_once() {
        let (batcher, freed) = Batcher::new(1);
        let mut acks = filled(&batcher, 3);
        batcher.answered(0, true);
        assert!(freed.try_recv().is_err() && batcher.are_empty());
        for ack in acks.drain(1..) {
            let answer = futures_util::FutureExt::now_or_never(ack).expect("is answered");
            assert!(matches!(answer, Err(AppendError::Failed(_))), "{answer:?}");
        }
    }

    #[test]
    fn what_gathers_is_bounded_over_all_lanes() {
        let (batcher, _freed) = Batcher::new(2);
        let _acks = filled(&batcher, 1 + GATHERING_RECORDS_MAX);
        let enter = |partition| batcher.enter(partition, record(0), Waiting::pair().0);
        assert!(matches!(enter(0), Err(AppendError::Full)));
        assert!(matches!(enter(1), Ok(Entered::First(..))), "it does not gather");
        assert!(matches!(enter(1), Err(AppendError::Full)));
        batcher.answered(0, false);
        batcher.next_group(0);
        assert!(matches!(enter(1), Ok(Entered::Gathering)));
    }
}
