//! The requests of a sliding window, in the order in which they were counted.

use std::collections::VecDeque;

use super::table::Counter;
use crate::counters::TRACKED_IDS_MAX;
use crate::coupon::{RequestId, UnixMs};

/// Aggregated requests leave the window in steps of a 64th. Every reservation adds up all steps.
const STEPS_PER_WINDOW: u64 = 64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// 0 is unlimited.
    pub(super) length_ms: u64,
    /// The arrival time of the request that is measured.
    pub(super) now_ms: UnixMs,
}

impl Window {
    /// A request more than one window in the future was counted before the clock was set back. It is dropped, or it
    /// would count until the clock catches up.
    const fn holds(self, at_ms: UnixMs) -> bool {
        self.length_ms == 0 || self.now_ms.abs_diff(at_ms) < self.length_ms
    }

    /// Whether a request at `at_ms` belongs to the step that began at `step_at_ms`. An earlier request does too, so that
    /// gateways whose clocks disagree add no steps.
    const fn is_in_step(self, step_at_ms: UnixMs, at_ms: UnixMs) -> bool {
        let step_ms = (self.length_ms / STEPS_PER_WINDOW).cast_signed();
        self.length_ms == 0 || at_ms.saturating_sub(step_at_ms) <= step_ms
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tracked {
    request_id: RequestId,
    at_ms: UnixMs,
}

/// Most users send one request, and a count of one needs no allocation.
#[derive(Debug, Default)]
pub(super) enum Count {
    #[default]
    Empty,
    One(Tracked),
    Many(Box<Requests>),
}

impl Count {
    /// The request's number in the window, from 1, and whether it is new there.
    pub(super) fn reserve(&mut self, window: Window, request_id: RequestId) -> (u64, bool) {
        let newcomer = Tracked { request_id, at_ms: window.now_ms };
        match self {
            Self::One(one) if window.holds(one.at_ms) && one.request_id == request_id => (1, false),
            Self::One(one) if window.holds(one.at_ms) => {
                let requests = Requests { aggregated: VecDeque::new(), tracked: VecDeque::from([*one, newcomer]) };
                *self = Self::Many(Box::new(requests));
                (2, true)
            }
            Self::Many(requests) => requests.reserve(window, newcomer),
            Self::Empty | Self::One(_) => {
                *self = Self::One(newcomer);
                (1, true)
            }
        }
    }

    /// Removes a request; those after it move up.
    pub(super) fn release(&mut self, request_id: RequestId) {
        match self {
            Self::One(one) if one.request_id == request_id => *self = Self::Empty,
            Self::Many(requests) => {
                requests.release(request_id);
                if let Some(one) = requests.only() {
                    *self = Self::One(one);
                }
            }
            Self::Empty | Self::One(_) => {}
        }
    }
}

impl Counter for Count {
    fn weight(&self) -> usize {
        match self {
            Self::Empty | Self::One(_) => 1,
            Self::Many(requests) => 1 + requests.tracked.capacity() + requests.aggregated.capacity(),
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::One(_) => false,
            Self::Many(requests) => requests.tracked.is_empty() && requests.aggregated.is_empty(),
        }
    }
}

/// The newest requests are tracked by id, and all older ones are aggregated: an id for each would not fit in memory.
#[derive(Debug)]
pub(super) struct Requests {
    aggregated: VecDeque<Step>,
    tracked: VecDeque<Tracked>,
}

/// Requests that leave the window together, when the first of them is due.
#[derive(Debug)]
struct Step {
    at_ms: UnixMs,
    requests: u64,
}

impl Requests {
    fn reserve(&mut self, window: Window, newcomer: Tracked) -> (u64, bool) {
        self.slide(window);
        let before: u64 = self.aggregated.iter().map(|step| step.requests).sum();
        if let Some(index) = self.position(newcomer.request_id) {
            return (before + index as u64 + 1, false);
        }
        let number = before + self.tracked.len() as u64 + 1;
        if self.tracked.len() == TRACKED_IDS_MAX {
            self.aggregate_oldest(window);
        }
        self.tracked.push_back(newcomer);
        (number, true)
    }

    /// From the front only: when clocks disagree, a request may stay until the one before it leaves.
    fn slide(&mut self, window: Window) {
        while self.aggregated.pop_front_if(|step| !window.holds(step.at_ms)).is_some() {}
        while self.tracked.pop_front_if(|tracked| !window.holds(tracked.at_ms)).is_some() {}
    }

    fn aggregate_oldest(&mut self, window: Window) {
        let Some(oldest) = self.tracked.pop_front() else { return };
        match self.aggregated.back_mut() {
            Some(step) if window.is_in_step(step.at_ms, oldest.at_ms) => step.requests += 1,
            _ => self.aggregated.push_back(Step { at_ms: oldest.at_ms, requests: 1 }),
        }
    }

    /// A request that is not tracked is assumed to be an aggregated one: a count that stays too high could reject its
    /// user for good.
    fn release(&mut self, request_id: RequestId) {
        if let Some(index) = self.position(request_id) {
            self.tracked.remove(index);
        } else if let Some(step) = self.aggregated.back_mut() {
            step.requests -= 1;
            if step.requests == 0 {
                self.aggregated.pop_back();
            }
        }
    }

    /// Searches from the newest, which is released most often.
    fn position(&self, request_id: RequestId) -> Option<usize> {
        self.tracked.iter().rposition(|tracked| tracked.request_id == request_id)
    }

    fn only(&self) -> Option<Tracked> {
        if self.aggregated.is_empty() && self.tracked.len() == 1 { self.tracked.front().copied() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn reserve(count: &mut Count, length_ms: u64, now_ms: UnixMs) -> u64 {
        let (number, is_new) = count.reserve(Window { length_ms, now_ms }, RequestId::new());
        assert!(is_new);
        number
    }

    #[test]
    fn aggregated_requests_leave_in_64_steps_and_are_never_overcounted() {
        let mut count = Count::default();
        for ms in 0..5 * MINUTE_MS.cast_signed() {
            let number = reserve(&mut count, MINUTE_MS, ms);
            let exact = MINUTE_MS.min(ms.cast_unsigned() + 1);
            let step = MINUTE_MS / STEPS_PER_WINDOW + 1;
            assert!(number <= exact && number + step >= exact, "{number} of {exact} at {ms} ms");
        }
        assert!(count.weight() < 2 * (TRACKED_IDS_MAX + 64), "{} in memory", count.weight());
    }

    #[test]
    fn disagreeing_clocks_add_no_steps() {
        let mut count = Count::default();
        for request in 0..100_000 {
            reserve(&mut count, MINUTE_MS, request % 2 * 10_000);
        }
        assert!(count.weight() < 2 * TRACKED_IDS_MAX, "{} in memory", count.weight());
    }

    #[test]
    fn releasing_every_request_leaves_the_count_idle() {
        let mut count = Count::default();
        let request_ids: Vec<_> = (0..3 * TRACKED_IDS_MAX).map(|_| RequestId::new()).collect();
        for request_id in &request_ids {
            count.reserve(Window { length_ms: 0, now_ms: 0 }, *request_id);
        }
        for request_id in request_ids {
            assert!(!count.is_idle());
            count.release(request_id);
        }
        assert!(count.is_idle());
    }

    #[test]
    fn requests_counted_before_the_clock_was_set_back_are_dropped() {
        let mut count = Count::default();
        let an_hour_ms = 3_600_000;
        for number in 1..=3 {
            assert_eq!(reserve(&mut count, MINUTE_MS, an_hour_ms), number);
        }
        assert_eq!(reserve(&mut count, MINUTE_MS, 0), 1);
    }
}
