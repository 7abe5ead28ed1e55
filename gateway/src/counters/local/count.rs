//! The requests of a sliding window, in the order in which they were reserved.

use std::collections::VecDeque;

use super::table::Counter;
use crate::counters::COUNTED_BY_NAME;
use crate::coupon::{RequestId, UnixMs};

/// What is no longer known by name slides in so many steps, each of which costs an addition a take.
const STEPS_PER_WINDOW: u64 = 64;

/// A window as one request sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Milliseconds; 0 has no end.
    pub(super) length_ms: u64,
    /// When the request arrived.
    pub(super) now_ms: UnixMs,
}

impl Window {
    /// A request from further in the future than the window is long was reserved before the clock was
    /// put back; it is let go, or it would count until the clock comes round again.
    const fn holds(self, at_ms: UnixMs) -> bool {
        self.length_ms == 0 || self.now_ms.abs_diff(at_ms) < self.length_ms
    }

    /// Whether a request at `at_ms` belongs to the step that began at `step_at_ms`. What is earlier
    /// than the step belongs to it too, so that disagreeing clocks make no more steps.
    const fn is_in_step(self, step_at_ms: UnixMs, at_ms: UnixMs) -> bool {
        let step_ms = (self.length_ms / STEPS_PER_WINDOW).cast_signed();
        self.length_ms == 0 || at_ms.saturating_sub(step_at_ms) <= step_ms
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    request_id: RequestId,
    at_ms: UnixMs,
}

/// Most users ask once, and one request needs no allocation of its own.
#[derive(Debug, Default)]
pub(super) enum Count {
    #[default]
    Nobody,
    One(Named),
    Many(Box<Crowd>),
}

impl Count {
    /// The request's place in the window, from 1, and whether it is new there.
    pub(super) fn reserve(&mut self, window: Window, request_id: RequestId) -> (u64, bool) {
        let newcomer = Named { request_id, at_ms: window.now_ms };
        match self {
            Self::One(one) if window.holds(one.at_ms) && one.request_id == request_id => (1, false),
            Self::One(one) if window.holds(one.at_ms) => {
                let crowd = Crowd { unnamed: VecDeque::new(), named: VecDeque::from([*one, newcomer]) };
                *self = Self::Many(Box::new(crowd));
                (2, true)
            }
            Self::Many(crowd) => crowd.reserve(window, newcomer),
            Self::Nobody | Self::One(_) => {
                *self = Self::One(newcomer);
                (1, true)
            }
        }
    }

    /// Takes a request out, wherever it stands; those after it move up.
    pub(super) fn take_out(&mut self, request_id: RequestId) {
        match self {
            Self::One(one) if one.request_id == request_id => *self = Self::Nobody,
            Self::Many(crowd) => {
                crowd.take_out(request_id);
                if let Some(one) = crowd.only() {
                    *self = Self::One(one);
                }
            }
            Self::Nobody | Self::One(_) => {}
        }
    }
}

impl Counter for Count {
    fn weight(&self) -> usize {
        match self {
            Self::Nobody | Self::One(_) => 1,
            Self::Many(crowd) => 1 + crowd.named.capacity() + crowd.unnamed.capacity(),
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::One(_) => false,
            Self::Many(crowd) => crowd.named.is_empty() && crowd.unnamed.is_empty(),
        }
    }
}

/// The newest requests by name, and before them the others as numbers.
#[derive(Debug)]
pub(super) struct Crowd {
    unnamed: VecDeque<Step>,
    named: VecDeque<Named>,
}

/// Requests that are only a number, and slide out of the window together with the first of them.
#[derive(Debug)]
struct Step {
    at_ms: UnixMs,
    requests: u64,
}

impl Crowd {
    fn reserve(&mut self, window: Window, newcomer: Named) -> (u64, bool) {
        self.slide(window);
        let before: u64 = self.unnamed.iter().map(|step| step.requests).sum();
        if let Some(index) = self.position(newcomer.request_id) {
            return (before + index as u64 + 1, false);
        }
        let place = before + self.named.len() as u64 + 1;
        if self.named.len() == COUNTED_BY_NAME {
            self.make_the_oldest_a_number(window);
        }
        self.named.push_back(newcomer);
        (place, true)
    }

    /// From the front only: where clocks disagree, a request may stay until the one before it goes.
    fn slide(&mut self, window: Window) {
        while self.unnamed.pop_front_if(|step| !window.holds(step.at_ms)).is_some() {}
        while self.named.pop_front_if(|named| !window.holds(named.at_ms)).is_some() {}
    }

    fn make_the_oldest_a_number(&mut self, window: Window) {
        let Some(oldest) = self.named.pop_front() else { return };
        match self.unnamed.back_mut() {
            Some(step) if window.is_in_step(step.at_ms, oldest.at_ms) => step.requests += 1,
            _ => self.unnamed.push_back(Step { at_ms: oldest.at_ms, requests: 1 }),
        }
    }

    /// A request that is not known by name is reserved to be one of those that are only a number: a
    /// count that is too high could turn somebody away for good.
    fn take_out(&mut self, request_id: RequestId) {
        if let Some(index) = self.position(request_id) {
            self.named.remove(index);
        } else if let Some(step) = self.unnamed.back_mut() {
            step.requests -= 1;
            if step.requests == 0 {
                self.unnamed.pop_back();
            }
        }
    }

    /// Searched from the newest on, which is the one most often given back.
    fn position(&self, request_id: RequestId) -> Option<usize> {
        self.named.iter().rposition(|named| named.request_id == request_id)
    }

    fn only(&self) -> Option<Named> {
        if self.unnamed.is_empty() && self.named.len() == 1 { self.named.front().copied() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn reserve(count: &mut Count, length_ms: u64, now_ms: UnixMs) -> u64 {
        let (place, is_new) = count.reserve(Window { length_ms, now_ms }, RequestId::new());
        assert!(is_new);
        place
    }

    #[test]
    fn a_crowd_slides_in_steps_of_a_sixty_fourth_and_never_counts_too_many() {
        let mut count = Count::default();
        for ms in 0..5 * MINUTE_MS.cast_signed() {
            let place = reserve(&mut count, MINUTE_MS, ms);
            let exact = MINUTE_MS.min(ms.cast_unsigned() + 1);
            let step = MINUTE_MS / STEPS_PER_WINDOW + 1;
            assert!(place <= exact && place + step >= exact, "{place} of {exact} at {ms} ms");
        }
        assert!(count.weight() < 2 * (COUNTED_BY_NAME + 64), "{} in memory", count.weight());
    }

    #[test]
    fn clocks_that_disagree_make_no_more_steps() {
        let mut count = Count::default();
        for turn in 0..100_000 {
            reserve(&mut count, MINUTE_MS, turn % 2 * 10_000);
        }
        assert!(count.weight() < 2 * COUNTED_BY_NAME, "{} in memory", count.weight());
    }

    #[test]
    fn a_crowd_that_is_taken_out_leaves_nobody() {
        let mut count = Count::default();
        let crowd: Vec<_> = (0..3 * COUNTED_BY_NAME).map(|_| RequestId::new()).collect();
        for request_id in &crowd {
            count.reserve(Window { length_ms: 0, now_ms: 0 }, *request_id);
        }
        for request_id in crowd {
            assert!(!count.is_idle());
            count.take_out(request_id);
        }
        assert!(count.is_idle());
    }

    #[test]
    fn a_clock_that_is_put_back_holds_nobody_for_longer() {
        let mut count = Count::default();
        let an_hour_ms = 3_600_000;
        for place in 1..=3 {
            assert_eq!(reserve(&mut count, MINUTE_MS, an_hour_ms), place);
        }
        assert_eq!(reserve(&mut count, MINUTE_MS, 0), 1);
    }
}
