//! A circuit breaker: a policy that keeps burning its whole deadline is asked seldom, so that it costs
//! its own decisions and not the processor of everybody else.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A deadline can be missed by accident; so many in a row are none.
const FAILURES_MAX: u32 = 3;
/// How long a policy is left alone before it is asked once more: one deadline a second is less than one
/// in a hundred of the processor.
const OPEN: Duration = Duration::from_secs(1);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Costly failures since the last decision.
    failures: AtomicU32,
    /// Milliseconds since [`START`] until which nobody asks.
    open_until_ms: AtomicU64,
}

impl Breaker {
    /// Whether the policy may be asked.
    pub(super) fn is_closed(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < FAILURES_MAX || self.may_probe(now_ms())
    }

    /// While it is open, the first one after its time is let through, and keeps the others out.
    fn may_probe(&self, now_ms: u64) -> bool {
        let until = self.open_until_ms.load(Ordering::Relaxed);
        let next = now_ms + OPEN.as_millis() as u64;
        now_ms >= until
            && self.open_until_ms.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The policy decided, or failed at no great cost.
    pub(super) fn record_success(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The policy burned its deadline, or filled its memory.
    pub(super) fn record_failure(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
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

    #[test]
    fn it_opens_after_costly_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = Breaker::default();
        breaker.record_failure();
        breaker.record_failure();
        breaker.record_success();
        breaker.record_failure();
        breaker.record_failure();
        assert!(breaker.is_closed(), "never three in a row");
        breaker.record_failure();
        assert!(!breaker.is_closed());
        let later = now_ms() + 2 * OPEN.as_millis() as u64;
        assert!(breaker.may_probe(later));
        assert!(!breaker.may_probe(later), "one probe at a time");
    }

    #[test]
    fn a_probe_that_is_answered_closes_it() {
        let breaker = Breaker::default();
        (0..FAILURES_MAX).for_each(|_| breaker.record_failure());
        breaker.record_success();
        assert!(breaker.is_closed());
    }
}
