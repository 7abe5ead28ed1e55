//! The newest changes of this process, refused ones included.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::ChangeError;
use crate::coupon::{GenerationNo, UnixMs, now_ms};

/// How many changes are listed, and how many can be rolled back.
pub(super) const HISTORY_MAX: u32 = 20;

/// Where a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `sluice.toml`.
    File,
    /// A component in the folder.
    Folder,
    /// The admin API.
    Admin,
    Rollback,
}

#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub at_ms: UnixMs,
    pub source: Source,
    /// The generation that it published, or why it was refused.
    pub result: Result<GenerationNo, String>,
}

#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<HistoryEntry>>);

impl History {
    pub(super) fn record(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
        let result = published.as_ref().copied().map_err(ToString::to_string);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_front(HistoryEntry { at_ms: now_ms(), source, result });
        entries.truncate(HISTORY_MAX as usize);
    }

    /// Newest first.
    pub(super) fn entries(&self) -> Vec<HistoryEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
