//! The connection to Redis, kept up in the background: who asks while it is down is told so at once.

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

/// The pause before the first attempt to connect again; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// So long after Redis is back, the gateway knows it at the latest.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often Redis must prove that it is there while nobody asks.
const PROOF_EVERY: Duration = Duration::from_secs(1);
/// One slow answer may be a hiccup; after so many failures in a row nobody else need wait for one.
const FAILURES_IN_A_ROW_MAX: u32 = 3;

pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    telemetry: Telemetry,
    release_queue: ReleaseQueue,
    state: ArcSwap<State>,
    is_lost: Notify,
}

pub(super) enum State {
    Up { connection: MultiplexedConnection, failures: AtomicU32 },
    Down { reason: String },
}

impl Link {
    /// From a first attempt to connect.
    pub(super) fn new(
        server: Server,
        first: Result<MultiplexedConnection, RedisError>,
        telemetry: Telemetry,
    ) -> (Self, Background) {
        let state = ArcSwap::from_pointee(State::after(first));
        let shared = Arc::new(Shared {
            server,
            telemetry,
            release_queue: ReleaseQueue::default(),
            state,
            is_lost: Notify::new(),
        });
        shared.tell();
        let keeper = Background::new("counters connection", keep(Arc::clone(&shared)));
        (Self { shared }, keeper)
    }

    /// As it is now; to be handed back with how the call went.
    pub(super) fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    pub(super) fn server(&self) -> &Server {
        &self.shared.server
    }

    /// What is given back as soon as Redis can be reached.
    pub(super) fn release_queue(&self) -> &ReleaseQueue {
        &self.shared.release_queue
    }

    /// Redis answered.
    pub(super) fn answered(&self, state: &State) {
        if let State::Up { failures, .. } = state
            && failures.load(Ordering::Relaxed) != 0
        {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Redis did not answer, or not as it should.
    pub(super) fn failed(&self, state: &Arc<State>, reason: &str, is_severed: bool) {
        if let State::Up { failures, .. } = &**state
            && (failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_IN_A_ROW_MAX || is_severed)
        {
            self.shared.lose(state, reason);
        }
    }
}

impl State {
    fn after(attempt: Result<MultiplexedConnection, RedisError>) -> Self {
        match attempt {
            Ok(connection) => Self::Up { connection, failures: AtomicU32::new(0) },
            Err(error) => Self::Down { reason: error.to_string() },
        }
    }
}

impl Shared {
    fn tell(&self) {
        self.telemetry.emit(CountersSeen { are_up: matches!(&**self.state.load(), State::Up { .. }) });
    }

    async fn prove_and_flush(&self, connection: &MultiplexedConnection) -> Result<(), RedisError> {
        self.server.prove(connection).await?;
        self.release_queue.flush(connection, &self.server.commands).await
    }

    /// Unless it is another connection by now. The first to find it out says so.
    fn lose(&self, seen: &Arc<State>, reason: &str) {
        let down = Arc::new(State::Down { reason: reason.to_owned() });
        if Arc::ptr_eq(&self.state.compare_and_swap(seen, down), seen) {
            tracing::warn!(server = self.server.address(), reason, "the counters are out of reach");
            self.tell();
            self.is_lost.notify_one();
        }
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut pause = PAUSE_MIN;
    loop {
        let state = shared.state.load_full();
        match &*state {
            State::Up { connection, .. } => {
                pause = PAUSE_MIN;
                tokio::select! {
                    () = shared.is_lost.notified() => {}
                    () = tokio::time::sleep(PROOF_EVERY) => {
                        if let Err(error) = shared.prove_and_flush(connection).await {
                            shared.lose(&state, &error.to_string());
                        }
                    }
                }
            }
            State::Down { .. } => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                shared.state.store(Arc::new(State::after(shared.server.connect().await)));
                if matches!(&**shared.state.load(), State::Up { .. }) {
                    tracing::info!(server = shared.server.address(), "the counters are in reach again");
                    shared.tell();
                }
            }
        }
    }
}
