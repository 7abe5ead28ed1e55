//! A circuit breaker: a policy that keeps failing at a cost is called rarely, and one that uses more than its share of
//! time is not called until that time is paid for. So it fails its own decisions and does not slow down other requests.

use std::sync::LazyLock;
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

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug)]
pub(super) struct Breaker {
    /// Of the failures since the last success.
    points: AtomicU32,
    /// Milliseconds since [`START`].
    open_until_ms: AtomicU64,
    budget: TimeBudget,
}

impl Breaker {
    pub(super) fn new(workers: usize) -> Self {
        Self { points: AtomicU32::new(0), open_until_ms: AtomicU64::new(0), budget: TimeBudget::new(workers) }
    }

    /// Why the policy must not be called.
    pub(super) fn check(&self) -> Result<(), FailureReason> {
        if self.budget.is_exhausted() {
            return Err(FailureReason::OverBudget);
        }
        if self.points.load(Ordering::Relaxed) < POINTS_MAX || self.may_probe(now_ms()) {
            Ok(())
        } else {
            Err(FailureReason::CircuitOpen)
        }
    }

    /// While the breaker is open, the first call after each interval is a probe; the exchange keeps out all others.
    fn may_probe(&self, now_ms: u64) -> bool {
        let until = self.open_until_ms.load(Ordering::Relaxed);
        let next = now_ms + OPEN.as_millis() as u64;
        now_ms >= until
            && self.open_until_ms.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A call took this long and succeeded, or failed.
    pub(super) fn record(&self, took: Duration, failure: Option<FailureReason>) {
        self.budget.spend(took);
        match failure.map_or(0, points) {
            0 => self.record_success(),
            points => self.record_failure(points),
        }
    }

    fn record_success(&self) {
        if self.points.load(Ordering::Relaxed) != 0 {
            self.points.store(0, Ordering::Relaxed);
        }
    }

    fn record_failure(&self, points: u32) {
        if self.points.fetch_add(points, Ordering::Relaxed) + points >= POINTS_MAX {
            self.open_until_ms.store(now_ms() + OPEN.as_millis() as u64, Ordering::Relaxed);
        }
    }
}

fn now_ms() -> u64 {
    START.elapsed().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, reason: FailureReason, times: u32) {
        (0..times).for_each(|_| breaker.record(Duration::ZERO, Some(reason)));
    }

    #[test]
    fn consecutive_failures_open_the_breaker_for_all_but_one_probe() {
        for (reason, most) in [(FailureReason::Deadline, 3), (FailureReason::Busy, 3), (FailureReason::Trap, 12)] {
            let breaker = Breaker::new(1);
            fail(&breaker, reason, most - 1);
            breaker.record(Duration::ZERO, None);
            fail(&breaker, reason, most - 1);
            assert_eq!(breaker.check(), Ok(()), "{reason:?}: never {most} in a row");
            fail(&breaker, reason, 1);
            assert_eq!(breaker.check(), Err(FailureReason::CircuitOpen), "{reason:?}");
            let later = now_ms() + 2 * OPEN.as_millis() as u64;
            assert!(breaker.may_probe(later));
            assert!(!breaker.may_probe(later), "one probe at a time");
        }
    }

    #[test]
    fn a_successful_probe_closes_the_breaker() {
        let breaker = Breaker::new(1);
        fail(&breaker, FailureReason::Memory, 3);
        breaker.record(Duration::ZERO, None);
        assert_eq!(breaker.check(), Ok(()));
    }

    #[test]
    fn a_call_that_uses_up_the_time_of_its_hook_opens_the_breaker() {
        let breaker = Breaker::new(1);
        breaker.record(Duration::from_millis(150), None);
        assert_eq!(breaker.check(), Ok(()));
        breaker.record(Duration::from_millis(150), None);
        assert_eq!(breaker.check(), Err(FailureReason::OverBudget));
    }
}
