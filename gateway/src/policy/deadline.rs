//! When a call is interrupted.
//!
//! The clock decides, and not the number of ticks: when all processors are busy, every tick comes late.

use std::time::{Duration, Instant};

use crate::processor_time;

/// A call past its deadline goes on until it has used this much processor time since its first tick: a thread that the
/// operating system did not schedule is not a policy that loops.
const PROCESSOR_TIME_MIN: Duration = Duration::from_millis(2);

pub(super) struct Deadline {
    at: Instant,
    /// The thread's processor time at the first tick of the call. Most calls end before that.
    first_tick: Option<Duration>,
}

impl Deadline {
    pub(super) const fn new(at: Instant) -> Self {
        Self { at, first_tick: None }
    }

    /// Whether to interrupt the call. Asked at every tick.
    pub(super) fn is_over(&mut self) -> bool {
        self.is_over_at(Instant::now(), processor_time::of_this_thread())
    }

    fn is_over_at(&mut self, now: Instant, processor_time: Duration) -> bool {
        let first = *self.first_tick.get_or_insert(processor_time);
        now >= self.at && processor_time.saturating_sub(first) >= PROCESSOR_TIME_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tick, in milliseconds after the start, that interrupts a call with a deadline of 5 ms. Of each millisecond,
    /// the thread runs for `share`.
    fn interrupted_at_ms(ticks_ms: impl IntoIterator<Item = u32>, share: f64) -> Option<u32> {
        let started = Instant::now();
        let mut deadline = Deadline::new(started + Duration::from_millis(5));
        ticks_ms.into_iter().find(|&ms| {
            let passed = Duration::from_millis(ms.into());
            deadline.is_over_at(started + passed, passed.mul_f64(share))
        })
    }

    #[test]
    fn a_loop_is_interrupted_at_its_deadline() {
        assert_eq!(interrupted_at_ms(1.., 1.0), Some(5));
        assert_eq!(interrupted_at_ms(1.., 0.5), Some(5));
    }

    #[test]
    fn late_ticks_do_not_add_up() {
        assert_eq!(interrupted_at_ms((1..).map(|tick| 4 * tick), 1.0), Some(8));
        assert_eq!(interrupted_at_ms([1, 3, 20], 1.0), Some(20));
    }

    #[test]
    fn a_thread_that_was_not_scheduled_gets_processor_time_after_its_deadline() {
        assert_eq!(interrupted_at_ms([50, 51, 52, 53], 1.0), Some(52), "the first tick came late");
        assert_eq!(interrupted_at_ms(1.., 0.1), Some(21));
    }
}
