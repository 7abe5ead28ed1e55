//! What `sluice topic ensure` found and did.

/// A topic or a file that [`ensure_topics`](super::ensure_topics) verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    pub name: String,
    pub change: Change,
}

/// What was done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Created,
    /// Partitions of new ledger groups were added.
    Extended,
}
