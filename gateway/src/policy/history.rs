//! The newest changes: those that the ledger has recorded, and those that this process refused.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::author::Author;
use super::error::ChangeError;
use crate::coupon::{GenerationNo, UnixMs, now_ms};

/// How many changes are listed, and how many can be rolled back.
pub(super) const HISTORY_MAX: u32 = 20;

#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub at_ms: UnixMs,
    pub author: Author,
    /// The generation that it published, or why it was refused.
    pub result: Result<GenerationNo, String>,
}

impl HistoryEntry {
    fn generation(&self) -> Option<GenerationNo> {
        self.result.as_ref().ok().copied()
    }
}

#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<HistoryEntry>>);

impl History {
    pub(super) fn record(&self, author: &Author, published: &Result<GenerationNo, ChangeError>) {
        let result = published.as_ref().copied().map_err(ToString::to_string);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listed = |number| entries.iter().any(|entry| entry.result == Ok(number));
        // Another process has made the same change at the same moment.
        if result.as_ref().is_ok_and(|number| is_listed(*number)) {
            return;
        }
        entries.push_front(HistoryEntry { at_ms: now_ms(), author: author.clone(), result });
        entries.truncate(HISTORY_MAX as usize);
    }

    /// Adds the changes in the ledger that are newer than those listed.
    pub(super) fn learn(&self, newest_first: impl Iterator<Item = HistoryEntry>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = entries.iter().filter_map(HistoryEntry::generation).max();
        let new: Vec<_> = newest_first.take_while(|entry| entry.generation() > listed).collect();
        for entry in new.into_iter().rev() {
            entries.push_front(entry);
        }
        entries.truncate(HISTORY_MAX as usize);
    }

    /// Newest first.
    pub(super) fn entries(&self) -> Vec<HistoryEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_other_processes_are_added_once_and_before_those_that_are_listed() {
        let entry = |number| HistoryEntry { at_ms: 0, author: Author::admin("anna"), result: Ok(number) };
        let history = History::default();
        history.learn([2, 1].map(entry).into_iter());
        history.record(&Author::FILE, &Err(ChangeError::Conflict));
        history.record(&Author::FILE, &Ok(3));
        history.learn([5, 4, 3, 2, 1].map(entry).into_iter());
        let listed: Vec<_> = history.entries().iter().map(HistoryEntry::generation).collect();
        assert_eq!(listed, [Some(5), Some(4), Some(3), None, Some(2), Some(1)]);
    }
}
