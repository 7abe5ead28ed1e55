//! The connection to Redis, kept up by a background task: while it is down, calls fail at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::redis::RedisError;
use ::redis::aio::MultiplexedConnection;
use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::release_queue::ReleaseQueue;
use super::server::Server;
use crate::background::Background;
use crate::telemetry::{CountersSeen, Telemetry};

/// Delay before the first attempt to reconnect. Doubles with every failed attempt.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
/// Bounds the time until the gateway notices that Redis is back.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Detects a lost connection while no request arrives.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A single slow answer may be an exception. After this many consecutive failures, calls stop waiting for a timeout each.
const CONSECUTIVE_FAILURES_MAX: u32 = 3;

pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    telemetry: Telemetry,
    release_queue: ReleaseQueue,
    state: ArcSwap<State>,
    connection_lost: Notify,
}

pub(super) enum State {
    Up { connection: MultiplexedConnection, failures: AtomicU32 },
    Down { reason: String },
}

impl Link {
    /// `connected` is the result of the first attempt to connect.
    pub(super) fn new(
        server: Server,
        connected: Result<MultiplexedConnection, RedisError>,
        telemetry: Telemetry,
    ) -> (Self, Background) {
        let state = ArcSwap::from_pointee(State::from_connect(connected));
        let shared = Arc::new(Shared {
            server,
            telemetry,
            release_queue: ReleaseQueue::default(),
            state,
            connection_lost: Notify::new(),
        });
        shared.emit_state();
        let keeper = Background::new("counters connection", keep_connected(Arc::clone(&shared)));
        (Self { shared }, keeper)
    }

    /// The current state. Pass it to [`record_success`](Self::record_success) or
    /// [`record_failure`](Self::record_failure) after the call.
    pub(super) fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    pub(super) fn server(&self) -> &Server {
        &self.shared.server
    }

    pub(super) fn release_queue(&self) -> &ReleaseQueue {
        &self.shared.release_queue
    }

    pub(super) fn record_success(&self, state: &State) {
        if let State::Up { failures, .. } = state
            && failures.load(Ordering::Relaxed) != 0
        {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Marks the connection as down if it is severed, or after [`CONSECUTIVE_FAILURES_MAX`] failures.
    pub(super) fn record_failure(&self, state: &Arc<State>, reason: &str, is_severed: bool) {
        if let State::Up { failures, .. } = &**state
            && (failures.fetch_add(1, Ordering::Relaxed) + 1 >= CONSECUTIVE_FAILURES_MAX || is_severed)
        {
            self.shared.mark_down(state, reason);
        }
    }
}

impl State {
    fn from_connect(connected: Result<MultiplexedConnection, RedisError>) -> Self {
        match connected {
            Ok(connection) => Self::Up { connection, failures: AtomicU32::new(0) },
            Err(error) => Self::Down { reason: error.to_string() },
        }
    }
}

impl Shared {
    fn emit_state(&self) {
        self.telemetry.emit(CountersSeen { are_up: matches!(&**self.state.load(), State::Up { .. }) });
    }

    async fn probe_and_flush(&self, connection: &MultiplexedConnection) -> Result<(), RedisError> {
        self.server.probe(connection).await?;
        self.release_queue.flush(connection, &self.server.commands).await
    }

    /// Does nothing if the connection was replaced meanwhile, so that of concurrent callers only the first logs.
    fn mark_down(&self, seen: &Arc<State>, reason: &str) {
        let down = Arc::new(State::Down { reason: reason.to_owned() });
        if Arc::ptr_eq(&self.state.compare_and_swap(seen, down), seen) {
            tracing::warn!(server = self.server.address(), reason, "redis connection lost");
            self.emit_state();
            self.connection_lost.notify_one();
        }
    }
}

async fn keep_connected(shared: Arc<Shared>) {
    let mut delay = RECONNECT_DELAY_MIN;
    loop {
        let state = shared.state.load_full();
        match &*state {
            State::Up { connection, .. } => {
                delay = RECONNECT_DELAY_MIN;
                tokio::select! {
                    () = shared.connection_lost.notified() => {}
                    () = tokio::time::sleep(PROBE_INTERVAL) => {
                        if let Err(error) = shared.probe_and_flush(connection).await {
                            shared.mark_down(&state, &error.to_string());
                        }
                    }
                }
            }
            State::Down { .. } => {
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RECONNECT_DELAY_MAX);
                shared.state.store(Arc::new(State::from_connect(shared.server.connect().await)));
                if matches!(&**shared.state.load(), State::Up { .. }) {
                    tracing::info!(server = shared.server.address(), "redis connection restored");
                    shared.emit_state();
                }
            }
        }
    }
}
