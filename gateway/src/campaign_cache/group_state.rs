//! What the cache keeps of each ledger group, so that none waits for another.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::sync::RwLock;

use super::stock_reads::StockReads;

#[derive(Default)]
pub(super) struct GroupState {
    /// Held shared by each settlement from before its transaction until its stock is published, and exclusively by each
    /// change.
    pub(super) change_lock: RwLock<()>,
    pub(super) refreshes: AtomicUsize,
    pub(super) stock_reads: StockReads,
    /// Whether the campaigns of the group were read.
    pub(super) is_read: AtomicBool,
}
