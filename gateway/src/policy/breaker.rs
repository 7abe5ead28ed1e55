//! A circuit breaker: a policy that keeps failing at a cost is called rarely, and one that uses more than its share of
//! time is not called until that time is paid for. So it fails its own decisions and does not slow down other requests.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::budget::TimeBudget;
use crate::telemetry::FailureReason;

/// Time between two probes: with the default deadline of 5 ms, probing uses half a percent of one processor.
const OPEN: Duration = Duration::from_secs(1);
/// One missed deadline can be an accident. Three in a row are not, nor are twelve traps.
const POINTS_MAX: u32 = 12;

/// What a failure costs others. A deadline, a full memory and a wait for an instance each hold a worker for
/// milliseconds. A trap only costs a new instance.
const fn points(reason: FailureReason) -> u32 {
    match reason {
        FailureReason::Deadline | FailureReason::Memory | FailureReason::Busy => 4,
        FailureReason::Trap => 1,
        _ => 0,
    }
}

/// Reads no clock: the caller has read it, to measure its call.
#[derive(Debug)]
pub(super) struct Breaker {
    created: Instant,
    /// Of the failures since the last success.
    points: AtomicU32,
    /// In milliseconds of its age.
    open_until_ms: AtomicU64,
    budget: TimeBudget,
}

impl Breaker {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            created: Instant::now(),
            points: AtomicU32::new(0),
            open_until_ms: AtomicU64::new(0),
            budget: TimeBudget::new(workers),
        }
    }

    /// Why the policy must not be called.
    pub(super) fn check(&self, now: Instant) -> Result<(), FailureReason> {
        let age = now.duration_since(self.created);
        if self.budget.is_exhausted(age) {
            return Err(FailureReason::OverBudget);
        }
        if self.points.load(Ordering::Relaxed) < POINTS_MAX || self.may_probe(age) {
            Ok(())
        } else {
            Err(FailureReason::CircuitOpen)
        }
    }

    /// While the breaker is open, the first call after each interval is a probe; the exchange keeps out all others.
    fn may_probe(&self, age: Duration) -> bool {
        let until = self.open_until_ms.load(Ordering::Relaxed);
        milliseconds(age) >= until
            && self
                .open_until_ms
                .compare_exchange(until, milliseconds(age + OPEN), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// A call that ended now took this long, and succeeded or failed.
    pub(super) fn record(&self, now: Instant, took: Duration, failure: Option<FailureReason>) {
        let age = now.duration_since(self.created);
        self.budget.spend(age, took);
        match failure.map_or(0, points) {
            0 => self.record_success(),
            points => self.record_failure(points, age),
        }
    }

    fn record_success(&self) {
        if self.points.load(Ordering::Relaxed) != 0 {
            self.points.store(0, Ordering::Relaxed);
        }
    }

    fn record_failure(&self, points: u32, age: Duration) {
        if self.points.fetch_add(points, Ordering::Relaxed) + points >= POINTS_MAX {
            self.open_until_ms.store(milliseconds(age + OPEN), Ordering::Relaxed);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, reason: FailureReason, times: u32) {
        (0..times).for_each(|_| breaker.record(breaker.created, Duration::ZERO, Some(reason)));
    }

    fn succeed(breaker: &Breaker, took: Duration) {
        breaker.record(breaker.created, took, None);
    }

    #[test]
    fn consecutive_failures_open_the_breaker_for_all_but_one_probe() {
        for (reason, most) in [(FailureReason::Deadline, 3), (FailureReason::Busy, 3), (FailureReason::Trap, 12)] {
            let breaker = Breaker::new(1);
            fail(&breaker, reason, most - 1);
            succeed(&breaker, Duration::ZERO);
            fail(&breaker, reason, most - 1);
            assert_eq!(breaker.check(breaker.created), Ok(()), "{reason:?}: never {most} in a row");
            fail(&breaker, reason, 1);
            assert_eq!(breaker.check(breaker.created), Err(FailureReason::CircuitOpen), "{reason:?}");
            let later = breaker.created + OPEN;
            assert_eq!(breaker.check(later), Ok(()), "{reason:?}: a probe");
            assert_eq!(breaker.check(later), Err(FailureReason::CircuitOpen), "{reason:?}: one probe at a time");
        }
    }

    #[test]
    fn a_successful_probe_closes_the_breaker() {
        let breaker = Breaker::new(1);
        fail(&breaker, FailureReason::Memory, 3);
        succeed(&breaker, Duration::ZERO);
        assert_eq!(breaker.check(breaker.created), Ok(()));
    }

    #[test]
    fn a_policy_that_used_up_its_time_is_called_again_once_that_time_is_made_up_for() {
        let breaker = Breaker::new(1);
        succeed(&breaker, Duration::from_millis(150));
        assert_eq!(breaker.check(breaker.created), Ok(()));
        succeed(&breaker, Duration::from_millis(150));
        // A fifth of the time is granted: 300 ms are made up for in 1.5 s.
        let after_ms = |ms| breaker.check(breaker.created + Duration::from_millis(ms));
        assert_eq!(after_ms(1_499), Err(FailureReason::OverBudget));
        assert_eq!(after_ms(1_500), Ok(()));
    }
}
