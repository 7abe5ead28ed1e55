//! What compiling one component may use.

use std::time::Duration;

/// On a busy machine, the compiler's low priority leaves it a tenth of a processor.
const WALL_TIME_FACTOR: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    pub memory_mib: u64,
    /// Of processor time.
    pub seconds: u64,
}

impl CompileLimits {
    pub(super) fn wall_seconds(self) -> u64 {
        self.seconds * WALL_TIME_FACTOR
    }

    pub(super) fn wall_time(self) -> Duration {
        Duration::from_secs(self.wall_seconds())
    }
}
