//! A number of its own for every request.

use super::table::Counter;

/// The number that comes next.
#[derive(Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    /// 0, 1, 2, …
    pub(super) const fn reserve(&mut self) -> u64 {
        let number = self.0;
        self.0 += 1;
        number
    }
}

impl Counter for Sequence {}
