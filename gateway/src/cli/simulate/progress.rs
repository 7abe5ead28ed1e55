//! Reports how far a long simulation is.

use std::time::{Duration, Instant};

use crate::cli::common::write;

const EVERY: Duration = Duration::from_secs(1);
/// Reading the clock at every event would cost more than most events.
const EVENTS_PER_READING: u32 = 4096;

/// Prints a line a second to standard error.
pub(super) struct Progress {
    picker: String,
    requests: u64,
    events: u32,
    next: Instant,
}

impl Progress {
    pub(super) fn new(picker: &str, requests: u64) -> Self {
        Self { picker: picker.to_owned(), requests, events: 0, next: Instant::now() + EVERY }
    }

    pub(super) fn report(&mut self, done: u64) {
        self.events += 1;
        if self.events < EVENTS_PER_READING {
            return;
        }
        self.events = 0;
        if Instant::now() >= self.next {
            self.next += EVERY;
            let line = format!("sluice: {}: {done} of {} requests simulated\n", self.picker, self.requests);
            // Without a standard error, the result is all that counts.
            let _ = write(&mut std::io::stderr(), line.as_bytes());
        }
    }
}
