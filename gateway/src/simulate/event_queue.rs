//! The events of a simulation, in the order of virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Of events at the same time, the one that was scheduled first comes first.
pub(super) struct EventQueue<E> {
    now: Duration,
    scheduled: u64,
    events: BinaryHeap<Reverse<Scheduled<E>>>,
}

struct Scheduled<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> EventQueue<E> {
    pub(super) fn new() -> Self {
        Self { now: Duration::ZERO, scheduled: 0, events: BinaryHeap::new() }
    }

    /// The time of the last event, since the start of the simulation.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Schedules an event at this time, or now if that has passed.
    pub(super) fn schedule_at(&mut self, at: Duration, event: E) {
        self.events.push(Reverse(Scheduled { at: at.max(self.now), number: self.scheduled, event }));
        self.scheduled += 1;
    }

    pub(super) fn schedule_after(&mut self, delay: Duration, event: E) {
        self.schedule_at(self.now + delay, event);
    }

    /// Advances the time to the next event.
    pub(super) fn next(&mut self) -> Option<E> {
        let Reverse(Scheduled { at, event, .. }) = self.events.pop()?;
        self.now = at;
        Some(event)
    }
}

impl<E> Scheduled<E> {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Scheduled<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_time_and_then_as_they_were_scheduled() {
        let at = Duration::from_millis;
        let mut queue = EventQueue::new();
        for (ms, event) in [(20, 'c'), (10, 'a'), (20, 'd'), (10, 'b')] {
            queue.schedule_at(at(ms), event);
        }
        let order: Vec<_> = std::iter::from_fn(|| Some((queue.next()?, queue.now()))).collect();
        assert_eq!(order, [('a', at(10)), ('b', at(10)), ('c', at(20)), ('d', at(20))]);
        queue.schedule_at(at(5), 'e');
        queue.next();
        assert_eq!(queue.now(), at(20), "time never goes back");
    }
}
