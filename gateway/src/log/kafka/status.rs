//! What this process knows of the topic: end offsets, and whether it takes records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::coupon::{Offset, PartitionNo};

pub(super) struct TopicStatus {
    /// The offset after the last record known to be durable, by partition.
    ends: Vec<AtomicU64>,
    /// Why records appended now would not become durable.
    problem: Mutex<Option<String>>,
}

impl TopicStatus {
    pub(super) fn new(partitions: u32) -> Self {
        let ends = std::iter::repeat_with(AtomicU64::default).take(partitions as usize).collect();
        Self { ends, problem: Mutex::default() }
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

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers with the problem that it replaces.
    pub(super) fn set_problem(&self, problem: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.problem.lock().unwrap_or_else(PoisonError::into_inner), problem)
    }
}
