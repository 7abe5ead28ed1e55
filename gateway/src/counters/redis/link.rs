//! The connection to one Redis node: while it is down, calls to the node fail at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::redis::aio::MultiplexedConnection;
use ::redis::{RedisError, RedisResult};
use arc_swap::ArcSwap;

use super::server::Server;
use super::slots::Node;
use crate::counters::Unavailable;

/// A single slow answer may be an exception. After this many consecutive failures, calls stop waiting for a timeout each.
const CONSECUTIVE_FAILURES_MAX: u32 = 3;

pub(super) struct Link {
    pub(super) node: Node,
    probe_key: ArcSwap<String>,
    state: ArcSwap<State>,
}

pub(super) enum State {
    Up { connection: MultiplexedConnection, failures: AtomicU32 },
    Down { reason: String },
}

impl State {
    fn from_connect(connected: RedisResult<MultiplexedConnection>) -> Self {
        match connected {
            Ok(connection) => Self::Up { connection, failures: AtomicU32::new(0) },
            Err(error) => Self::Down { reason: error.to_string() },
        }
    }

    pub(super) fn connection(&self) -> Result<MultiplexedConnection, Unavailable> {
        match self {
            Self::Up { connection, .. } => Ok(connection.clone()),
            Self::Down { reason } => Err(Unavailable(reason.clone())),
        }
    }

    pub(super) fn record_success(&self) {
        if let Self::Up { failures, .. } = self
            && failures.load(Ordering::Relaxed) != 0
        {
            failures.store(0, Ordering::Relaxed);
        }
    }
}

impl Link {
    /// `connected` is the result of the first attempt to connect.
    pub(super) fn new(node: Node, probe_key: String, connected: RedisResult<MultiplexedConnection>) -> Self {
        let state = ArcSwap::from_pointee(State::from_connect(connected));
        Self { node, probe_key: ArcSwap::from_pointee(probe_key), state }
    }

    pub(super) async fn connect(server: &Server, node: Node, probe_key: String) -> Self {
        let connected = server.connect_and_probe(&node, &probe_key).await;
        if let Err(error) = &connected {
            tracing::warn!(server = %node, %error, "redis node unreachable");
        }
        Self::new(node, probe_key, connected)
    }

    /// The current state. Pass it to [`record_failure`](Self::record_failure) after the call.
    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&**self.state.load(), State::Up { .. })
    }

    pub(super) fn set_probe_key(&self, probe_key: String) {
        self.probe_key.store(Arc::new(probe_key));
    }

    /// Whether this marked the connection as down: it is severed, or failed [`CONSECUTIVE_FAILURES_MAX`] times.
    pub(super) fn record_failure(&self, state: &Arc<State>, reason: &str, is_severed: bool) -> bool {
        let State::Up { failures, .. } = &**state else { return false };
        let failures = failures.fetch_add(1, Ordering::Relaxed) + 1;
        (is_severed || failures >= CONSECUTIVE_FAILURES_MAX) && self.mark_down(state, reason)
    }

    /// Probes a connection that is up, or connects again.
    pub(super) async fn tend(&self, server: &Server) {
        let (state, probe_key) = (self.state(), self.probe_key.load_full());
        match &*state {
            State::Up { connection, .. } => {
                if let Err(error) = server.probe(connection, &probe_key).await {
                    self.mark_down(&state, &error.to_string());
                }
            }
            State::Down { .. } => {
                let connected = State::from_connect(server.connect_and_probe(&self.node, &probe_key).await);
                if matches!(connected, State::Up { .. }) {
                    tracing::info!(server = %self.node, "redis connection restored");
                }
                self.state.store(Arc::new(connected));
            }
        }
    }

    /// Does nothing if the connection was replaced meanwhile, so that of concurrent callers only the first logs.
    fn mark_down(&self, seen: &Arc<State>, reason: &str) -> bool {
        let down = Arc::new(State::Down { reason: reason.to_owned() });
        let is_first = Arc::ptr_eq(&self.state.compare_and_swap(seen, down), seen);
        if is_first {
            tracing::warn!(server = %self.node, reason, "redis connection lost");
        }
        is_first
    }
}

/// Whether no further call can succeed on the connection.
pub(super) fn is_severed(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}
