//! How much of the workers' time a policy may use.
//!
//! A deadline bounds one call. Many calls that each stay within it would still take all workers from the other requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stripes::Stripes;

/// Of the time of every worker. Three hooks that use it up leave two fifths for everything else.
const SHARE_PERCENT: u64 = 20;
/// The share is an average over this time: long enough for a burst, short enough for a client to wait.
const WINDOW: Duration = Duration::from_secs(1);
/// A thread enters its use into the account once it adds up to this. The account is then off by less than a thousandth of
/// the window, and short calls do not all write to it.
const ENTRY_MIN: Duration = Duration::from_micros(100);

/// A policy's account of time. Each use is paid for by the time that passes. Callers pass the time since the account was
/// opened.
#[derive(Debug)]
pub(super) struct TimeBudget {
    workers: u64,
    /// Of each thread, not entered yet.
    used: Stripes<Duration>,
    /// In nanoseconds: when all use is paid for.
    paid_at: AtomicU64,
    /// The same while the policy must not be called; 0 while it may.
    closed_until: AtomicU64,
}

impl TimeBudget {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers: workers as u64,
            used: Stripes::new((0..workers).map(|_| Duration::ZERO)),
            paid_at: AtomicU64::new(0),
            closed_until: AtomicU64::new(0),
        }
    }

    /// Whether the policy must not be called, until all that it used is paid for.
    pub(super) fn is_exhausted(&self, now: Duration) -> bool {
        let until = self.closed_until.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        if nanoseconds(now) < until {
            return true;
        }
        self.closed_until.store(0, Ordering::Relaxed);
        false
    }

    /// A call, together with the wait for an instance, held a worker for this long.
    pub(super) fn spend(&self, now: Duration, used: Duration) {
        let mut sum = self.used.own();
        *sum += used;
        if *sum >= ENTRY_MIN {
            self.enter(nanoseconds(now), std::mem::take(&mut sum));
        }
    }

    fn enter(&self, now: u64, used: Duration) {
        let price = nanoseconds(used) * 100 / (SHARE_PERCENT * self.workers);
        let paid_at = |before: u64| before.max(now) + price;
        let before = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(paid_at(before)));
        let until = paid_at(before.unwrap_or_else(|before| before));
        if until > now + nanoseconds(WINDOW) {
            self.closed_until.fetch_max(until, Ordering::Relaxed);
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of use that are granted from the start until `seconds` later, in calls of `call_ms`.
    fn granted_ms(workers: usize, seconds: u64, call_ms: u64) -> u64 {
        let budget = TimeBudget::new(workers);
        let mut granted = 0;
        // One call begins every millisecond, as if on many workers.
        for ms in 1..seconds * 1000 {
            let now = Duration::from_millis(ms);
            if !budget.is_exhausted(now) {
                budget.spend(now, Duration::from_millis(call_ms));
                granted += call_ms;
            }
        }
        granted
    }

    #[test]
    fn on_average_a_fifth_of_the_workers_time_is_granted() {
        for (workers, call_ms) in [(1, 1), (4, 2), (4, 100), (16, 50)] {
            let share = 20 * 1000 * workers as u64 / 5;
            let granted = granted_ms(workers, 20, call_ms);
            // The first window is granted in advance.
            assert!(granted <= share + share / 20 + 2 * call_ms, "{workers} workers: {granted} of {share}");
            assert!(granted >= share * 4 / 5, "{workers} workers: {granted} of {share}");
        }
    }

    #[test]
    fn short_calls_add_up() {
        let budget = TimeBudget::new(1);
        let call = Duration::from_micros(3);
        let mut now = Duration::ZERO;
        while !budget.is_exhausted(now) {
            now += call;
            budget.spend(now, call);
        }
        // Nothing but calls: each is paid for by itself and four times more.
        assert!((249..=251).contains(&now.as_millis()), "{now:?}");
    }

    #[test]
    fn a_policy_that_uses_less_is_never_stopped() {
        let budget = TimeBudget::new(1);
        for ms in 1..10_000 {
            let now = Duration::from_millis(ms);
            assert!(!budget.is_exhausted(now));
            budget.spend(now, Duration::from_micros(199));
        }
    }
}
