//! Which outcomes are awaited, on connections of their own.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

/// An outcome that is due while all are busy waits, and counts as later than it was.
pub(super) const CONNECTIONS: usize = 64;

/// A request whose outcome is awaited.
pub(super) struct Awaited {
    pub(super) due: Instant,
    pub(super) status_url: String,
}

pub(super) struct Outcomes {
    pub(super) idle: VecDeque<usize>,
    waiting: VecDeque<Awaited>,
    requests_per_outcome: u64,
    accepted: u64,
}

impl Outcomes {
    pub(super) fn new(connections: Range<usize>, requests_per_outcome: u64) -> Self {
        Self { idle: connections.collect(), waiting: VecDeque::new(), requests_per_outcome, accepted: 0 }
    }

    /// Notes an accepted request, if it belongs to the sample.
    pub(super) fn accept(&mut self, due: Instant, status_url: Option<&str>) {
        self.accepted += 1;
        if self.requests_per_outcome > 0 && self.accepted.is_multiple_of(self.requests_per_outcome) {
            let status_url = status_url.expect("a 202 has a Location").to_owned();
            self.waiting.push_back(Awaited { due, status_url });
        }
    }

    /// The next request to await, and an idle connection for it.
    pub(super) fn next(&mut self) -> Option<(usize, Awaited)> {
        let connection = *self.idle.front()?;
        let awaited = self.waiting.pop_front()?;
        self.idle.pop_front();
        Some((connection, awaited))
    }
}
