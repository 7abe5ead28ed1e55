//! The facts of a request, read with the words of a policy.

use crate::shard_picker::Shard;
use crate::{BucketState, Measured, Rejection};

/// The code of a rejection by a rate shaper.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// The code of a rejection by a user limit.
pub const USER_LIMIT: &str = "USER_LIMIT";

impl Rejection {
    /// A rejection that time will not change.
    #[must_use]
    pub fn for_good(code: &str) -> Self {
        Self { code: code.to_owned(), retry_after_ms: None }
    }

    /// A rejection that the client may try to overcome after so many milliseconds.
    #[must_use]
    pub fn for_ms(code: &str, retry_after_ms: u32) -> Self {
        Self { code: code.to_owned(), retry_after_ms: Some(retry_after_ms) }
    }
}

impl Shard {
    /// What is left when all that was accepted is granted.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.remaining.saturating_sub(self.unsettled)
    }
}

/// The shards of a coupon.
pub trait ShardList {
    /// The `n`-th shard, beginning again with the first after the last.
    fn counted_around(&self, n: u64) -> &Shard;
}

impl ShardList for [Shard] {
    fn counted_around(&self, n: u64) -> &Shard {
        &self[(n % self.len() as u64) as usize]
    }
}

/// The host's answers to the measures that a policy declared, each at the index of its measure.
///
/// All of them panic when the answer is missing or to another question: the host promises that it is not.
pub trait Answers {
    /// The answer to [`Measure::Count`](crate::Measure::Count).
    fn count(&self, index: usize) -> u64;
    /// The answer to [`Measure::Bucket`](crate::Measure::Bucket).
    fn bucket(&self, index: usize) -> BucketState;
    /// The answer to [`Measure::Sequence`](crate::Measure::Sequence).
    fn sequence(&self, index: usize) -> u64;
}

impl Answers for [Measured] {
    fn count(&self, index: usize) -> u64 {
        match self[index] {
            Measured::Count(count) => count,
            _ => panic!("a count was declared"),
        }
    }

    fn bucket(&self, index: usize) -> BucketState {
        match self[index] {
            Measured::Bucket(state) => state,
            _ => panic!("a bucket was declared"),
        }
    }

    fn sequence(&self, index: usize) -> u64 {
        match self[index] {
            Measured::Sequence(number) => number,
            _ => panic!("a sequence was declared"),
        }
    }
}
