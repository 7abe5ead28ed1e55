//! When requests are due.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Pace;

pub(crate) struct Schedule {
    /// Absent if requests are due whenever a connection is free.
    arrivals: Option<Arrivals>,
    ends: Instant,
}

struct Arrivals {
    per_second: f64,
    next: Instant,
    random: StdRng,
}

impl Schedule {
    pub(crate) fn new(pace: Pace, lasts: Duration) -> Self {
        let now = Instant::now();
        let arrivals = match pace {
            Pace::Closed { .. } => None,
            Pace::Open { per_second } => Some(Arrivals { per_second, next: now, random: StdRng::seed_from_u64(1) }),
        };
        Self { arrivals, ends: now + lasts }
    }

    /// The time at which the next request was due, if that has come.
    pub(crate) fn take(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let Some(arrivals) = &mut self.arrivals else { return (now < self.ends).then_some(now) };
        let due = arrivals.next;
        if due > now || due >= self.ends {
            return None;
        }
        arrivals.next = due + arrivals.gap();
        Some(due)
    }

    /// How long it is until the next request is due, if the schedule says so.
    pub(crate) fn until_next(&self) -> Option<Duration> {
        let next = self.arrivals.as_ref()?.next;
        (next < self.ends).then(|| next.saturating_duration_since(Instant::now()))
    }
}

impl Arrivals {
    /// Gaps of a Poisson process are distributed exponentially.
    fn gap(&mut self) -> Duration {
        let share: f64 = self.random.random();
        Duration::from_secs_f64(-(1.0 - share).ln() / self.per_second)
    }
}
