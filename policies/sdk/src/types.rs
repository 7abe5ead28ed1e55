//! Helpers on the contract's types.

use crate::shard_picker::Shard;
use crate::{BucketState, Measured, Rejection};

/// The code for a rejection because of the rate.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// The code for a rejection because of a limit per user.
pub const USER_LIMIT: &str = "USER_LIMIT";

impl Rejection {
    /// A rejection that a retry cannot change. The client receives no `Retry-After`.
    #[must_use]
    pub fn permanent(code: &str) -> Self {
        Self { code: code.to_owned(), retry_after_ms: None, message: None, link: None }
    }

    /// A rejection that may change after this many milliseconds, sent as `Retry-After`.
    #[must_use]
    pub fn temporary(code: &str, retry_after_ms: u32) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::permanent(code) }
    }

    /// With a message for the client: plain text of at most 512 bytes, sent as `detail`.
    #[must_use]
    pub fn with_message(self, message: &str) -> Self {
        Self { message: Some(message.to_owned()), ..self }
    }

    /// With the address of a page that explains the rejection, `http` or `https`, sent as `help`.
    #[must_use]
    pub fn with_link(self, link: &str) -> Self {
        Self { link: Some(link.to_owned()), ..self }
    }
}

impl Shard {
    /// The stock that remains if every unsettled request is granted. 0 if there are more requests than stock.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.remaining.saturating_sub(self.unsettled)
    }
}

/// Access to the shards of a coupon.
pub trait ShardList {
    /// The shard at index `number % length`, so any number gives a shard.
    ///
    /// # Panics
    ///
    /// If the list is empty. The contract guarantees at least one shard.
    fn at_modulo(&self, number: u64) -> &Shard;
}

impl ShardList for [Shard] {
    #[track_caller]
    fn at_modulo(&self, number: u64) -> &Shard {
        &self[(number % self.len() as u64) as usize]
    }
}

/// Access to the results of the declared measures, by the index of the measure.
///
/// # Panics
///
/// Every method panics if there is no result at the index or if it belongs to another kind of measure. The
/// contract guarantees one result per declared measure, so a panic means a wrong index in the policy.
pub trait Measurements {
    /// The result of a [`Measure::Count`](crate::Measure::Count).
    fn count(&self, index: usize) -> u64;
    /// The result of a [`Measure::Bucket`](crate::Measure::Bucket).
    fn bucket(&self, index: usize) -> BucketState;
    /// The result of a [`Measure::Sequence`](crate::Measure::Sequence).
    fn sequence(&self, index: usize) -> u64;
}

/// A panic names the line of the policy.
impl Measurements for [Measured] {
    #[track_caller]
    fn count(&self, index: usize) -> u64 {
        match self[index] {
            Measured::Count(count) => count,
            _ => panic!("measure {index} is not a count"),
        }
    }

    #[track_caller]
    fn bucket(&self, index: usize) -> BucketState {
        match self[index] {
            Measured::Bucket(state) => state,
            _ => panic!("measure {index} is not a bucket"),
        }
    }

    #[track_caller]
    fn sequence(&self, index: usize) -> u64 {
        match self[index] {
            Measured::Sequence(number) => number,
            _ => panic!("measure {index} is not a sequence"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shards;

    #[test]
    fn available_stock_is_never_negative() {
        let mut shard = shards(&[10])[0];
        for (unsettled, available) in [(0, 10), (9, 1), (10, 0), (11, 0), (u64::MAX, 0)] {
            shard.unsettled = unsettled;
            assert_eq!(shard.available(), available, "{unsettled}");
        }
    }

    #[test]
    fn any_number_selects_a_shard() {
        let shards = shards(&[1; 3]);
        let selected = [0, 2, 3, u64::MAX].map(|number| shards.at_modulo(number).shard_no);
        assert_eq!(selected, [3, 17, 3, 3]);
    }

    #[test]
    fn each_result_is_read_at_the_index_of_its_measure() {
        let measured = [Measured::Sequence(7), Measured::Bucket(BucketState::ConformingInMs(5)), Measured::Count(2)];
        assert_eq!(measured.sequence(0), 7);
        assert_eq!(measured.bucket(1), BucketState::ConformingInMs(5));
        assert_eq!(measured.count(2), 2);
    }

    #[test]
    #[should_panic(expected = "measure 0 is not a count")]
    fn reading_the_wrong_kind_of_measure_is_a_trap() {
        [Measured::Sequence(1)].count(0);
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn reading_a_measure_that_was_not_declared_is_a_trap() {
        [Measured::Count(1)].count(1);
    }
}
