//! A load generator that costs little: one thread, connections that stay open, buffers that are reused, and one wait for
//! all connections (epoll).
//!
//! Latency counts from the time at which a request was due, not from when it was sent. If the gateway stalls, requests
//! that are due meanwhile wait in the generator, and their wait counts. So a stall is measured in full, although few
//! requests were under way when it began (no coordinated omission).

mod answer;
mod connection;
mod generator;
mod latencies;
mod measured;
mod outcomes;
mod schedule;
mod sockets;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use latencies::{Latencies, Quantiles};
pub(crate) use measured::{Cost, Measured};
pub(crate) use schedule::Schedule;

use super::crowd::Crowd;

/// A request that is due while all connections are busy waits for one. At the highest rate of one machine, these are
/// enough for answers that take 10 ms.
const OPEN_CONNECTIONS: usize = 256;

/// When requests are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends its next request when the one before is answered.
    Closed { connections: usize },
    /// Requests are due at random times (a Poisson process), whether earlier ones are answered or not.
    Open { per_second: f64 },
}

impl Pace {
    /// The most requests under way.
    const fn connections(self) -> usize {
        match self {
            Self::Closed { connections } => connections,
            Self::Open { .. } => OPEN_CONNECTIONS,
        }
    }
}

pub(crate) struct Load<'a> {
    /// The connections are spread over them.
    pub(crate) gateways: &'a [SocketAddr],
    pub(crate) pace: Pace,
    pub(crate) lasts: Duration,
    /// How many requests there are to one whose outcome is awaited; 0 awaits none.
    pub(crate) requests_per_outcome: u64,
}

impl Load<'_> {
    /// Sends requests and waits until all are answered. Blocks the thread.
    ///
    /// # Panics
    /// When an answer is not a 202, or an outcome is not ISSUED.
    pub(crate) fn send(&self, crowd: &mut Crowd) -> Measured {
        generator::run(self, crowd)
    }
}

/// The most that `connections` get from one gateway.
pub(crate) fn flood(gateway: SocketAddr, connections: usize, lasts: Duration, crowd: &mut Crowd) -> Measured {
    let pace = Pace::Closed { connections };
    Load { gateways: &[gateway], pace, lasts, requests_per_outcome: 0 }.send(crowd)
}
