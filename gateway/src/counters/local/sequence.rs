use super::table::Counter;

/// Holds the next number.
#[derive(Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) const fn next(&mut self) -> u64 {
        let number = self.0;
        self.0 += 1;
        number
    }
}

impl Counter for Sequence {}
