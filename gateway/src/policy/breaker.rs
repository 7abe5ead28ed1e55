//! A circuit breaker: a policy that keeps using its whole deadline is called rarely, so that it fails its own
//! decisions and does not take processor time from other requests.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One missed deadline can be an accident; this many in a row are not.
const FAILURES_MAX: u32 = 3;
/// Time between two probes: with the default deadline of 5 ms, probing uses half a percent of one processor.
const OPEN: Duration = Duration::from_secs(1);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Costly failures since the last success.
    failures: AtomicU32,
    /// Milliseconds since [`START`].
    open_until_ms: AtomicU64,
}

impl Breaker {
    /// Whether the policy may be called.
    pub(super) fn is_closed(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < FAILURES_MAX || self.may_probe(now_ms())
    }

    /// While the breaker is open, the first call after each interval is a probe; the exchange keeps out all others.
    fn may_probe(&self, now_ms: u64) -> bool {
        let until = self.open_until_ms.load(Ordering::Relaxed);
        let next = now_ms + OPEN.as_millis() as u64;
        now_ms >= until
            && self.open_until_ms.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The policy decided, or failed without using much time.
    pub(super) fn record_success(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The policy missed its deadline or exceeded its memory.
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
    fn consecutive_failures_open_the_breaker_for_all_but_one_probe() {
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
    fn a_successful_probe_closes_the_breaker() {
        let breaker = Breaker::default();
        (0..FAILURES_MAX).for_each(|_| breaker.record_failure());
        breaker.record_success();
        assert!(breaker.is_closed());
    }
}
