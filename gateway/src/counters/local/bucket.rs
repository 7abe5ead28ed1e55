//! A token bucket in one number: the moment at which it will be full again (the "theoretical arrival
//! time" of GCRA, ITU-T I.371).
//!
//! Time is counted in parts: a millisecond has as many as the rate has requests. A token then takes
//! exactly `per_ms` parts to come, and nothing is ever rounded but the answer, up to a millisecond.
//!
//! Requests do not come in the order of their times. Who comes late finds the bucket as the latest left it: to
//! judge them by their own time would be to wait until the bucket is as full as it was then.

use std::num::NonZeroU32;

use super::table::Counter;
use crate::counters::Measured;
use crate::coupon::UnixMs;

/// When the clock itself is further behind the latest request than this, it was put back.
const CLOCK_JITTER_MS_MAX: i128 = 1_000;

/// `requests` tokens come every `per_ms`, and a full bucket holds `burst`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) requests: NonZeroU32,
    pub(super) per_ms: NonZeroU32,
    pub(super) burst: NonZeroU32,
}

impl Rate {
    /// How long a token takes to come.
    fn token_parts(self) -> i128 {
        parts(self.per_ms)
    }

    /// How long an empty bucket takes to be full.
    fn full_parts(self) -> i128 {
        self.token_parts() * parts(self.burst)
    }
}

/// Any 64-bit time in parts of any 32-bit rate fits an `i128` with room to spare.
fn parts(number: NonZeroU32) -> i128 {
    i128::from(number.get())
}

/// In parts since 1970.
#[derive(Debug)]
pub(super) struct Bucket {
    /// When the bucket is full; it is so ever after.
    full_at: i128,
    /// When the latest request came that took a token.
    latest: i128,
}

impl Default for Bucket {
    /// Full since ever.
    fn default() -> Self {
        Self { full_at: i128::MIN, latest: i128::MIN }
    }
}

impl Bucket {
    /// Takes a token for who came at `came_ms`, or says when there will be one. `clock_ms` is what the clock says
    /// now. A bucket must always be asked at the same rate.
    pub(super) fn reserve(&mut self, rate: Rate, came_ms: UnixMs, clock_ms: UnixMs) -> Measured {
        let in_parts = |ms: UnixMs| i128::from(ms) * parts(rate.requests);
        let came = in_parts(came_ms);
        let behind = self.latest.saturating_sub(in_parts(came_ms.max(clock_ms)));
        let is_put_back = behind > CLOCK_JITTER_MS_MAX * parts(rate.requests);
        let now = if is_put_back { came } else { came.max(self.latest) };
        // Nobody waits for the old clock to come round again: an empty bucket is the most that can be release_queue.
        let full_at = self.full_at.max(now).min(now + rate.full_parts());
        let full_after = full_at + rate.token_parts();
        let wait = full_after - now - rate.full_parts();
        if wait <= 0 || is_put_back {
            (self.full_at, self.latest) = (full_at, now);
        }
        if wait <= 0 {
            self.full_at = full_after;
            return Measured::Conforming;
        }
        let wait_ms = (wait - 1) / parts(rate.requests) + 1;
        Measured::ConformingInMs(u32::try_from(wait_ms).unwrap_or(u32::MAX))
    }

    /// Puts back a token that was reserved. A bucket that is full since stays so: its moment only moves
    /// further into the past.
    pub(super) fn put_back(&mut self, per_ms: NonZeroU32) {
        self.full_at = self.full_at.saturating_sub(parts(per_ms));
    }
}

impl Counter for Bucket {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bucket as one would explain it: tokens drip in, and what runs over is lost. A token is
    /// split into `per_ms` drops, of which `requests` come every millisecond.
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

        fn wait_until(&mut self, now_ms: UnixMs, rate: Rate) {
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

        fn put_back(&mut self, rate: Rate) {
            self.fill(Self::drops_of(NonZeroU32::MIN, rate), rate);
        }
    }

    /// Who comes by the clock.
    fn reserve(bucket: &mut Bucket, rate: Rate, came_ms: UnixMs) -> Measured {
        bucket.reserve(rate, came_ms, came_ms)
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
        fn a_bucket_does_as_its_model(
            rate in rates(),
            started_at_ms in -5_000_i64..2_000_000_000_000,
            steps in prop::collection::vec((0_i64..20, 1_usize..6, any::<bool>()), 1..60),
        ) {
            let mut now_ms = started_at_ms;
            let mut bucket = Bucket::default();
            let mut model = Model { drops: Model::drops_of(rate.burst, rate), at_ms: now_ms };
            for (passed_ms, takes, last_is_put_back) in steps {
                now_ms += passed_ms;
                model.wait_until(now_ms, rate);
                let mut measured = Measured::Conforming;
                for _ in 0..takes {
                    measured = reserve(&mut bucket, rate, now_ms);
                    prop_assert_eq!(measured, model.reserve(rate));
                }
                if last_is_put_back && measured == Measured::Conforming {
                    bucket.put_back(rate.per_ms);
                    model.put_back(rate);
                }
            }
        }

        #[test]
        fn whoever_waits_as_long_as_told_is_served(rate in rates(), reserved in 1_usize..20) {
            let mut bucket = Bucket::default();
            for _ in 0..reserved {
                if let Measured::ConformingInMs(wait_ms) = reserve(&mut bucket, rate, 0) {
                    prop_assert!(wait_ms >= 1);
                    prop_assert!(wait_ms == 1 || reserve(&mut bucket, rate, i64::from(wait_ms) - 1) != Measured::Conforming);
                    prop_assert_eq!(reserve(&mut bucket, rate, i64::from(wait_ms)), Measured::Conforming);
                    break;
                }
            }
        }

        #[test]
        fn clocks_that_disagree_a_little_mint_no_tokens(behind_ms in prop::collection::vec(0_i64..1_000, 1..200)) {
            let rate = rate(5, 1_000, 3);
            let mut bucket = Bucket::default();
            let conforming = behind_ms.iter().filter(|behind| reserve(&mut bucket, rate, 1_000 - **behind) == Measured::Conforming);
            prop_assert!(conforming.count() <= 3 + 5, "a burst and a second's worth");
        }
    }

    proptest! {
        #[test]
        fn who_comes_late_finds_the_bucket_as_it_is(
            rate in rates(),
            steps in prop::collection::vec((0_i64..20, prop::option::of(0_i64..=60_000)), 1..60),
        ) {
            let (mut bucket, mut in_order) = (Bucket::default(), Bucket::default());
            let mut latest_ms = 0;
            prop_assert_eq!(reserve(&mut bucket, rate, latest_ms), reserve(&mut in_order, rate, latest_ms));
            for (passed_ms, behind_ms) in steps {
                let (came_ms, now_ms) = match behind_ms {
                    Some(behind_ms) => (latest_ms - behind_ms, latest_ms),
                    None => (latest_ms + passed_ms, latest_ms + passed_ms),
                };
                let measured = bucket.reserve(rate, came_ms, now_ms);
                prop_assert_eq!(measured, reserve(&mut in_order, rate, now_ms));
                if measured == Measured::Conforming {
                    latest_ms = now_ms;
                }
            }
        }
    }

    #[test]
    fn a_clock_that_is_put_back_makes_nobody_wait_for_more_than_a_token() {
        let rate = rate(1, 100, 2);
        let mut bucket = Bucket::default();
        let an_hour_ms = 3_600_000;
        for _ in 0..2 {
            assert_eq!(reserve(&mut bucket, rate, an_hour_ms), Measured::Conforming);
        }
        assert_eq!(reserve(&mut bucket, rate, 0), Measured::ConformingInMs(100));
        assert_eq!(reserve(&mut bucket, rate, 100), Measured::Conforming);
    }
}
