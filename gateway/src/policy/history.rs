//! The newest changes: those that the ledger has recorded, and those that this process refused.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ChangeError;
use crate::coupon::{GenerationNo, UnixMs, now_ms};

/// How many changes are listed, and how many can be rolled back.
pub(super) const HISTORY_MAX: u32 = 20;

/// Where a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `sluice.toml`.
    File,
    /// A component in the folder.
    Folder,
    /// The admin API.
    Admin,
    Rollback,
    /// A rollout that was promoted.
    Rollout,
}

impl Source {
    /// The word that the ledger and the admin API use.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Admin => "admin",
            Self::Rollback => "rollback",
            Self::Rollout => "rollout",
        }
    }
}

#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub at_ms: UnixMs,
    pub source: Source,
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
    pub(super) fn record(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
        let result = published.as_ref().copied().map_err(ToString::to_string);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listed = |number| entries.iter().any(|entry| entry.result == Ok(number));
        // Another process has made the same change at the same moment.
        if result.as_ref().is_ok_and(|number| is_listed(*number)) {
            return;
        }
        entries.push_front(HistoryEntry { at_ms: now_ms(), source, result });
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
        let entry = |number| HistoryEntry { at_ms: 0, source: Source::Admin, result: Ok(number) };
        let history = History::default();
        history.learn([2, 1].map(entry).into_iter());
        history.record(Source::File, &Err(ChangeError::Conflict));
        history.record(Source::File, &Ok(3));
        history.learn([5, 4, 3, 2, 1].map(entry).into_iter());
        let listed: Vec<_> = history.entries().iter().map(HistoryEntry::generation).collect();
        assert_eq!(listed, [Some(5), Some(4), Some(3), None, Some(2), Some(1)]);
    }
}
