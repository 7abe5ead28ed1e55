//! Durations of calls, counted in buckets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A histogram with four buckets for each power of two nanoseconds, so that a quantile is at most a quarter too high.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Latency(BTreeMap<u8, u64>);

impl Latency {
    pub(super) fn observe(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        *self.0.entry(bucket(nanoseconds)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many durations are above this one, or in its bucket.
    pub(super) fn above(&self, duration: Duration) -> u64 {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.range(bucket(nanoseconds)..).map(|(_, count)| count).sum()
    }

    /// The highest duration of the bucket in which the quantile lies; `None` without a duration.
    pub(super) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in &self.0 {
            below += count;
            if below >= rank {
                return Some(Duration::from_nanos(highest(*bucket)));
            }
        }
        None
    }
}

/// The two bits after the leading one divide a power of two into four.
fn bucket(nanoseconds: u64) -> u8 {
    let nanoseconds = nanoseconds.max(4);
    let exponent = nanoseconds.ilog2();
    let quarter = (nanoseconds >> (exponent - 2)) & 3;
    // At most 4 * 63 + 3.
    (exponent * 4 + quarter as u32) as u8
}

fn highest(bucket: u8) -> u64 {
    let (exponent, quarter) = (u32::from(bucket / 4), u64::from(bucket % 4));
    let step = 1_u64 << (exponent - 2);
    (4 + quarter) * step + (step - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_at_most_a_quarter_below_the_end_of_its_bucket(nanoseconds in 4_u64..1 << 60) {
            let end = highest(bucket(nanoseconds));
            prop_assert!(nanoseconds <= end && end - nanoseconds <= nanoseconds / 4, "{nanoseconds} {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_all_that_was_added() {
        let (mut fast, mut slow) = (Latency::default(), Latency::default());
        assert_eq!(fast.quantile(0.99), None);
        (0..99).for_each(|_| fast.observe(Duration::from_micros(1)));
        slow.observe(Duration::from_millis(1));
        fast.add(&slow);
        assert!(fast.quantile(0.99).expect("some") < Duration::from_nanos(1300));
        assert!(fast.quantile(1.0).expect("some") >= Duration::from_millis(1));
        assert_eq!((fast.count(), fast.above(Duration::from_micros(500)), fast.above(Duration::ZERO)), (100, 1, 100));
    }
}
