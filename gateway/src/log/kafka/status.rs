//! What this process knows of the topic: end offsets, and whether it takes records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::coupon::{Offset, PartitionNo};
use crate::log::Gap;

pub(super) struct TopicStatus {
    /// The offset after the last record known to be durable, by partition.
    ends: Vec<AtomicU64>,
    /// The start and the end of each partition that a broker last reported. Unlike `ends`, they can go back.
    reported: Vec<[AtomicU64; 2]>,
    /// Why records appended now would not become durable.
    problem: Mutex<Option<String>>,
}

impl TopicStatus {
    pub(super) fn new(partitions: u32) -> Self {
        let ends = std::iter::repeat_with(AtomicU64::default).take(partitions as usize).collect();
        let reported = std::iter::repeat_with(Default::default).take(partitions as usize).collect();
        Self { ends, reported, problem: Mutex::default() }
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("made from a u32")
    }

    /// 0 for a partition that does not exist.
    pub(super) fn end(&self, partition: PartitionNo) -> Offset {
        self.ends.get(partition.0 as usize).map_or(0, |end| end.load(Ordering::Relaxed))
    }

    /// Never goes back: reports from the producer and the monitor arrive in any order.
    pub(super) fn advance(&self, partition: i32, end: Offset) {
        let known = usize::try_from(partition).ok().and_then(|partition| self.ends.get(partition));
        if let Some(known) = known {
            known.fetch_max(end, Ordering::Relaxed);
        }
    }

    pub(super) fn report(&self, partition: i32, start: Offset, end: Offset) {
        let known = usize::try_from(partition).ok().and_then(|partition| self.reported.get(partition));
        if let Some([known_start, known_end]) = known {
            known_start.store(start, Ordering::Relaxed);
            known_end.store(end, Ordering::Relaxed);
        }
        self.advance(partition, end);
    }

    /// What is missing at an offset, by the last report, which may be older than the offset.
    pub(super) fn reported_gap(&self, partition: u32, from: Offset) -> Option<Gap> {
        let [start, end] = self.reported.get(partition as usize)?;
        Gap::outside(start.load(Ordering::Relaxed), end.load(Ordering::Relaxed), from)
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers with the problem that it replaces.
    pub(super) fn set_problem(&self, problem: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.problem.lock().unwrap_or_else(PoisonError::into_inner), problem)
    }
}
