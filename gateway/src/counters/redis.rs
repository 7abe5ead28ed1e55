//! Counters in Redis 6 or later (or Valkey), shared by several gateways. One script measures everything for a hook in
//! one round trip, so every counter is atomic.
//!
//! Windows and buckets use the arrival times that the gateways measured. Redis's clock only expires unused keys, and
//! corrects a gateway whose clock is off. Data that Redis loses makes counts lower, never higher.

mod commands;
mod link;
mod release;
mod release_queue;
mod reserve_call;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisResult;
use ::redis::aio::MultiplexedConnection;
use futures_util::future::FutureExt;

use self::commands::{RELEASE, run};
use self::link::{Link, State};
use self::release::{REQUESTS_PER_CALL, Release};
use self::reserve_call::ReserveCall;
use super::{Answer, Counters, Hook, Measure, OpenError, Reserved, Subject, Unavailable};
use crate::background::Background;
use crate::coupon::{Fingerprint, RequestId};
use crate::telemetry::{CountersMissed, Telemetry};

pub use self::server::Server;

/// A round trip within a data centre takes less than a millisecond. Until an outage is detected, a request may wait this
/// long for each of its three hooks.
const CALL_MAX: Duration = Duration::from_millis(50);
/// Settlement forgets many requests at once, and no client waits for it.
const FORGET_MAX: Duration = Duration::from_secs(1);

pub struct Redis {
    link: Link,
    /// [`CALL_MAX`], but in tests on a busy machine.
    call_max: Duration,
}

impl Redis {
    /// Connects. The background task keeps the connection up.
    ///
    /// # Errors
    /// [`OpenError`] when authentication fails, the certificate is not trusted or Redis is unreachable.
    pub async fn open(server: Server, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        match server.connect().await {
            Ok(connection) => Ok(Self::new(server, Ok(connection), telemetry)),
            Err(error) => Err(server
                .permanent_error(&error)
                .await
                .unwrap_or_else(|| OpenError::Unreachable { server: server.address(), reason: error.to_string() })),
        }
    }

    /// Connects, or leaves it to the background task if Redis is unreachable.
    ///
    /// # Errors
    /// [`OpenError`] when authentication fails or the certificate is not trusted.
    pub async fn open_or_retry(server: Server, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        let connection = server.connect().await;
        if let Err(error) = &connection {
            if let Some(permanent) = server.permanent_error(error).await {
                return Err(permanent);
            }
            tracing::warn!(server = server.address(), %error, "redis unreachable, starting without counters");
        }
        Ok(Self::new(server, connection, telemetry))
    }

    fn new(
        server: Server,
        connection: RedisResult<MultiplexedConnection>,
        telemetry: &Telemetry,
    ) -> (Self, Background) {
        let (link, keeper) = Link::new(server, connection, telemetry.clone());
        (Self { link, call_max: CALL_MAX }, keeper)
    }

    /// In one round trip.
    async fn undo(&self, timeout: Duration, releases: &[Release]) -> Result<(), Unavailable> {
        let state = self.link.state();
        let connection = self.connection(&state)?;
        let command = self.link.server().commands.release(releases);
        self.answer(&state, timeout, run(connection, &RELEASE, command)).await
    }

    fn connection(&self, state: &State) -> Result<MultiplexedConnection, Unavailable> {
        match state {
            State::Up { connection, .. } => Ok(connection.clone()),
            State::Down { reason } => Err(self.unavailable(reason)),
        }
    }

    fn unavailable(&self, reason: &str) -> Unavailable {
        self.link.telemetry().emit(CountersMissed);
        Unavailable(reason.to_owned())
    }

    async fn answer<T>(
        &self,
        state: &Arc<State>,
        timeout: Duration,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        let (reason, is_severed) = match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => {
                self.link.record_success(state);
                return Ok(answer);
            }
            Ok(Err(error)) => (error.to_string(), error.is_io_error() || error.is_unrecoverable_error()),
            Err(_) => (format!("no answer in {} ms", timeout.as_millis()), false),
        };
        self.link.record_failure(state, &reason, is_severed);
        Err(self.unavailable(&reason))
    }
}

impl Counters for Redis {
    fn reserve<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject) -> Answer<'a, Reserved> {
        let reserve = async move {
            let state = self.link.state();
            let connection = self.connection(&state)?;
            let commands = &self.link.server().commands;
            let mut call = ReserveCall::new(connection, commands, hook, measures, subject);
            self.answer(&state, self.call_max, call.reserved()).await
        };
        Answer::Right(reserve.boxed())
    }

    fn release<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject, added: u32) -> Answer<'a, ()> {
        let release = async move {
            if added == 0 {
                return Ok(());
            }
            let release = Release::of_added(hook, measures, subject, added);
            let released = self.undo(self.call_max, std::slice::from_ref(&release)).await;
            // Queued for a retry, up to the queue's bound.
            released.or_else(|error| if self.link.release_queue().add(release) { Ok(()) } else { Err(error) })
        };
        Answer::Right(release.boxed())
    }

    fn key_holder(&self, fingerprint: Fingerprint) -> Answer<'_, Option<RequestId>> {
        let key_holder = async move {
            let state = self.link.state();
            let mut connection = self.connection(&state)?;
            let command = self.link.server().commands.key_holder(fingerprint);
            let holder: Option<Vec<u8>> =
                self.answer(&state, self.call_max, command.query_async(&mut connection)).await?;
            Ok(holder.and_then(|id| <[u8; 16]>::try_from(id).ok()).map(RequestId::from))
        };
        Answer::Right(key_holder.boxed())
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> Answer<'a, ()> {
        let forget = async move {
            let releases: Vec<_> = rejected.iter().filter_map(Release::of_rejected).collect();
            for releases in releases.chunks(REQUESTS_PER_CALL) {
                self.undo(FORGET_MAX, releases).await?;
            }
            Ok(())
        };
        Answer::Right(forget.boxed())
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.link.state() {
            State::Up { .. } => Ok(()),
            State::Down { reason } => Err(reason.clone()),
        }
    }
}
