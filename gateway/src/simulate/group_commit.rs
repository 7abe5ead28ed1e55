//! The log of a simulation: it makes records durable in groups.

use super::settlement::Record;

/// While one group is on its way, the next one gathers.
#[derive(Default)]
pub(super) struct GroupCommit {
    gathering: Vec<Record>,
    /// Empty while the log is idle.
    committing: Vec<Record>,
}

/// Whether a commit began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Begun,
    NotBegun,
}

impl GroupCommit {
    pub(super) fn append(&mut self, record: Record) -> Commit {
        self.gathering.push(record);
        if self.committing.is_empty() { self.begin() } else { Commit::NotBegun }
    }

    /// The records of the commit that ended. The next one begins at once if records wait for it.
    pub(super) fn end(&mut self) -> (Vec<Record>, Commit) {
        let durable = std::mem::take(&mut self.committing);
        (durable, self.begin())
    }

    fn begin(&mut self) -> Commit {
        self.committing = std::mem::take(&mut self.gathering);
        if self.committing.is_empty() { Commit::NotBegun } else { Commit::Begun }
    }
}
