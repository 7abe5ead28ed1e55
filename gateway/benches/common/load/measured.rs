//! What a load found, and what the generator itself cost.

use std::fmt;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::Latencies;

pub(crate) struct Measured {
    /// From when a request was due to its answer.
    pub(crate) responses: Latencies,
    /// From when a request was due to its outcome, of a sample.
    pub(crate) outcomes: Latencies,
    /// From when a request was due to when it was sent: how late the generator was, and how long it waited for a
    /// connection.
    pub(crate) delays: Latencies,
    /// From the begin to the last answer.
    pub(crate) lasted: Duration,
    begun: Instant,
    /// Processor time of the generator's thread. Of a connection on one machine, the kernel counts a part of the
    /// receiver's work for the sender.
    cpu: Duration,
}

impl Measured {
    pub(crate) fn begin() -> Self {
        Self {
            responses: Latencies::new(),
            outcomes: Latencies::new(),
            delays: Latencies::new(),
            lasted: Duration::ZERO,
            begun: Instant::now(),
            cpu: thread_cpu(),
        }
    }

    pub(crate) fn answered(&mut self, due: Instant, at: Instant) {
        self.responses.record(at - due);
        self.lasted = at - self.begun;
    }

    pub(crate) fn end(&mut self) {
        self.cpu = thread_cpu() - self.cpu;
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.responses.count() as f64 / self.lasted.as_secs_f64()
    }

    pub(crate) fn cost(&self) -> Cost {
        let cpu = self.cpu.as_secs_f64();
        let processors = available_parallelism().map_or(1, NonZero::get) as f64;
        Cost {
            us: cpu * 1e6 / self.responses.count() as f64,
            machine_percent: 100.0 * cpu / (self.lasted.as_secs_f64() * processors),
        }
    }
}

/// What the generator cost.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// Processor time of a request.
    pub(crate) us: f64,
    /// The generator's share of the machine's processor time.
    pub(crate) machine_percent: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generator: {:.1} µs a request, {:.0} % of the machine", self.us, self.machine_percent)
    }
}

/// Processor time of this thread since it began.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("below a second"))
}
