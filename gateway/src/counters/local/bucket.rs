//! A token bucket in one number: the time at which it will be full again (the "theoretical arrival time" of GCRA,
//! ITU-T I.371).
//!
//! A millisecond is divided into `requests` parts. A token then takes exactly `per_ms` parts, and only the answer is
//! rounded, up to the next millisecond.
//!
//! Requests are not measured in the order of their arrival times. A late request does not rewind the bucket, which
//! would return tokens that later requests took: it is measured at the time of the latest one.

use std::num::NonZeroU32;

use super::table::Counter;
use crate::counters::Measured;
use crate::coupon::UnixMs;

/// A clock further behind the latest request than this was set back. Less is normal jitter between clock readings.
const CLOCK_JITTER_MS_MAX: i128 = 1_000;

/// `requests` tokens come every `per_ms`, and a full bucket holds `burst`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) requests: NonZeroU32,
    pub(super) per_ms: NonZeroU32,
    pub(super) burst: NonZeroU32,
}

impl Rate {
    fn token_parts(self) -> i128 {
        parts(self.per_ms)
    }

    /// The time in which an empty bucket fills.
    fn full_parts(self) -> i128 {
        self.token_parts() * parts(self.burst)
    }
}

/// `i128` cannot overflow: the largest product is a 64-bit time and a 32-bit number.
fn parts(number: NonZeroU32) -> i128 {
    i128::from(number.get())
}

/// Times are in parts since 1970.
#[derive(Debug)]
pub(super) struct Bucket {
    /// From this time on the bucket is full, unless a token is taken.
    full_at: i128,
    /// The latest arrival that took a token.
    latest: i128,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { full_at: i128::MIN, latest: i128::MIN }
    }
}

impl Bucket {
    /// Takes a token for a request that arrived at `arrived_ms`, or returns when the next one comes. The clock is read
    /// only for a late request. Every call on a bucket must pass the same rate.
    pub(super) fn reserve(
        &mut self,
        rate: Rate,
        arrived_ms: UnixMs,
        read_clock_ms: impl FnOnce() -> UnixMs,
    ) -> Measured {
        let in_parts = |ms: UnixMs| i128::from(ms) * parts(rate.requests);
        let arrived = in_parts(arrived_ms);
        let is_behind = |time| self.latest.saturating_sub(time) > CLOCK_JITTER_MS_MAX * parts(rate.requests);
        let clock_was_set_back = is_behind(arrived) && is_behind(in_parts(read_clock_ms()));
        let now = if clock_was_set_back { arrived } else { arrived.max(self.latest) };
        // A bucket is at most empty. Without this bound, a clock that was set back would block all requests until it
        // caught up.
        let full_at = self.full_at.max(now).min(now + rate.full_parts());
        let full_after = full_at + rate.token_parts();
        let wait = full_after - now - rate.full_parts();
        if wait <= 0 || clock_was_set_back {
            (self.full_at, self.latest) = (full_at, now);
        }
        if wait <= 0 {
            self.full_at = full_after;
            return Measured::Conforming;
        }
        let wait_ms = (wait - 1) / parts(rate.requests) + 1;
        Measured::ConformingInMs(u32::try_from(wait_ms).unwrap_or(u32::MAX))
    }

    /// Returns a token. A bucket that has filled up meanwhile stays full: `full_at` only moves further into the past.
    pub(super) fn release(&mut self, per_ms: NonZeroU32) {
        self.full_at = self.full_at.saturating_sub(parts(per_ms));
    }
}

impl Counter for Bucket {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook bucket: tokens drip in, and the overflow is lost. A token is split into `per_ms` drops, of which
    /// `requests` are added every millisecond.
    struct Model {
        drops: u128,
        at_ms: UnixMs,
    }

    impl Model {
        fn drops_of(tokens: NonZeroU32, rate: Rate) -> u128 {
            u128::from(tokens.get()) * u128::from(rate.per_ms.get())
        }

        fn fill(&mut self, drops: u128, rate: Rate) {
            self.drops = (self.drops + drops).min(Self::drops_of(rate.burst, rate));
        }

        fn advance_to(&mut self, now_ms: UnixMs, rate: Rate) {
            let passed_ms = u128::from(now_ms.abs_diff(self.at_ms));
            self.fill(passed_ms * u128::from(rate.requests.get()), rate);
            self.at_ms = now_ms;
        }

        fn reserve(&mut self, rate: Rate) -> Measured {
            let token = Self::drops_of(NonZeroU32::MIN, rate);
            if let Some(left) = self.drops.checked_sub(token) {
                self.drops = left;
                return Measured::Conforming;
            }
            let wait_ms = (token - self.drops).div_ceil(u128::from(rate.requests.get()));
            Measured::ConformingInMs(u32::try_from(wait_ms).expect("a token comes within per_ms"))
        }

        fn release(&mut self, rate: Rate) {
            self.fill(Self::drops_of(NonZeroU32::MIN, rate), rate);
        }
    }

    fn reserve_on_time(bucket: &mut Bucket, rate: Rate, now_ms: UnixMs) -> Measured {
        bucket.reserve(rate, now_ms, || now_ms)
    }

    fn rate(requests: u32, per_ms: u32, burst: u32) -> Rate {
        let at_least_one = |number| NonZeroU32::new(number).expect("at least 1");
        Rate { requests: at_least_one(requests), per_ms: at_least_one(per_ms), burst: at_least_one(burst) }
    }

    fn rates() -> impl Strategy<Value = Rate> {
        let small = (1_u32..50, 1_u32..50, 1_u32..8);
        let any = (1_u32.., 1_u32.., 1_u32..);
        prop_oneof![4 => small.boxed(), 1 => any.boxed()]
            .prop_map(|(requests, per_ms, burst)| rate(requests, per_ms, burst))
    }

    proptest! {
        #[test]
        fn a_bucket_behaves_like_the_token_model(
            rate in rates(),
            started_at_ms in -5_000_i64..2_000_000_000_000,
            steps in prop::collection::vec((0_i64..20, 1_usize..6, any::<bool>()), 1..60),
        ) {
            let mut now_ms = started_at_ms;
            let mut bucket = Bucket::default();
            let mut model = Model { drops: Model::drops_of(rate.burst, rate), at_ms: now_ms };
            for (passed_ms, requests, release_last) in steps {
                now_ms += passed_ms;
                model.advance_to(now_ms, rate);
                let mut measured = Measured::Conforming;
                for _ in 0..requests {
                    measured = reserve_on_time(&mut bucket, rate, now_ms);
                    prop_assert_eq!(measured, model.reserve(rate));
                }
                if release_last && measured == Measured::Conforming {
                    bucket.release(rate.per_ms);
                    model.release(rate);
                }
            }
        }

        #[test]
        fn a_request_that_waits_as_long_as_told_gets_a_token(rate in rates(), requests in 1_usize..20) {
            let mut bucket = Bucket::default();
            for _ in 0..requests {
                if let Measured::ConformingInMs(wait_ms) = reserve_on_time(&mut bucket, rate, 0) {
                    prop_assert!(wait_ms >= 1);
                    prop_assert!(wait_ms == 1 || reserve_on_time(&mut bucket, rate, i64::from(wait_ms) - 1) != Measured::Conforming);
                    prop_assert_eq!(reserve_on_time(&mut bucket, rate, i64::from(wait_ms)), Measured::Conforming);
                    break;
                }
            }
        }

        #[test]
        fn clock_jitter_creates_no_tokens(behind_ms in prop::collection::vec(0_i64..1_000, 1..200)) {
            let rate = rate(5, 1_000, 3);
            let mut bucket = Bucket::default();
            let conforming = behind_ms.iter().filter(|behind| reserve_on_time(&mut bucket, rate, 1_000 - **behind) == Measured::Conforming);
            prop_assert!(conforming.count() <= 3 + 5, "a burst, and the tokens of one second");
        }
    }

    proptest! {
        #[test]
        fn a_late_request_is_measured_at_the_time_of_the_latest(
            rate in rates(),
            steps in prop::collection::vec((0_i64..20, prop::option::of(0_i64..=60_000)), 1..60),
        ) {
            let (mut bucket, mut in_order) = (Bucket::default(), Bucket::default());
            let mut latest_ms = 0;
            prop_assert_eq!(reserve_on_time(&mut bucket, rate, latest_ms), reserve_on_time(&mut in_order, rate, latest_ms));
            for (passed_ms, behind_ms) in steps {
                let (arrived_ms, now_ms) = match behind_ms {
                    Some(behind_ms) => (latest_ms - behind_ms, latest_ms),
                    None => (latest_ms + passed_ms, latest_ms + passed_ms),
                };
                let measured = bucket.reserve(rate, arrived_ms, || now_ms);
                prop_assert_eq!(measured, reserve_on_time(&mut in_order, rate, now_ms));
                if measured == Measured::Conforming {
                    latest_ms = now_ms;
                }
            }
        }
    }

    #[test]
    fn the_clock_is_read_only_for_a_request_that_is_far_behind() {
        let mut bucket = Bucket::default();
        let mut reads = 0;
        for (arrived_ms, reads_expected) in [(5_000, 0), (5_001, 0), (4_100, 0), (3_000, 1)] {
            let clock = || {
                reads += 1;
                5_001
            };
            bucket.reserve(rate(1, 1, 10), arrived_ms, clock);
            assert_eq!(reads, reads_expected, "{arrived_ms}");
        }
    }

    #[test]
    fn after_the_clock_is_set_back_a_request_waits_for_at_most_one_token() {
        let rate = rate(1, 100, 2);
        let mut bucket = Bucket::default();
        let an_hour_ms = 3_600_000;
        for _ in 0..2 {
            assert_eq!(reserve_on_time(&mut bucket, rate, an_hour_ms), Measured::Conforming);
        }
        assert_eq!(reserve_on_time(&mut bucket, rate, 0), Measured::ConformingInMs(100));
        assert_eq!(reserve_on_time(&mut bucket, rate, 100), Measured::Conforming);
    }
}
