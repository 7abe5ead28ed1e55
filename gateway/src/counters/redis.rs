//! Counters in Redis 6 or later (or Valkey), which several gateways share: one round trip for all
//! that a hook measures, in a script, so that every counter stays atomic.
//!
//! Time is the gateways' own: a window slides by when requests arrived. Redis's clock lets keys go that
//! nobody needs any more, and puts right a gateway whose own is off. What Redis loses makes counts lower,
//! never higher.

mod commands;
mod link;
mod release_queue;
mod server;
#[cfg(test)]
mod tests;
mod unanswered;

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, RedisResult};
use futures_util::future::BoxFuture;

use self::commands::{RELEASE, release_all, run};
use self::link::{Link, State};
use self::release_queue::PendingRelease;
use self::unanswered::Unanswered;
use super::{Counters, Hook, Measure, Measured, OpenError, Reserved, Subject, Unavailable};
use crate::background::Background;
use crate::telemetry::{CountersMissed, Telemetry};

pub use self::server::Server;

/// A round trip within a data centre takes less than one, and three hooks may have to wait so long
/// each before a request goes on without.
const CALL_MAX: Duration = Duration::from_millis(50);
/// Settlement waits for this, no client; it forgets a whole batch at once.
const FORGET_MAX: Duration = Duration::from_secs(1);

/// The counters of all gateways that share a Redis.
pub struct Redis {
    link: Link,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// [`OpenError`] when Redis refuses the login, is not to be trusted or is out of reach.
    pub async fn open(server: Server, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        match server.connect().await {
            Ok(connection) => Ok(Self::linked(server, Ok(connection), telemetry)),
            Err(error) => Err(server
                .refusal(&error)
                .await
                .unwrap_or_else(|| OpenError::Unreachable { server: server.address(), reason: error.to_string() })),
        }
    }

    /// Connects, now or when Redis is there.
    ///
    /// # Errors
    /// [`OpenError`] when Redis refuses the login or is not to be trusted.
    pub async fn open_if_there(server: Server, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        let connection = server.connect().await;
        if let Err(error) = &connection {
            if let Some(refusal) = server.refusal(error).await {
                return Err(refusal);
            }
            tracing::warn!(server = server.address(), %error, "the counters are out of reach; starting without them");
        }
        Ok(Self::linked(server, connection, telemetry))
    }

    fn linked(
        server: Server,
        connection: RedisResult<MultiplexedConnection>,
        telemetry: &Telemetry,
    ) -> (Self, Background) {
        let (link, keeper) = Link::new(server, connection, telemetry.clone());
        (Self { link }, keeper)
    }

    async fn call<T, F: Future<Output = RedisResult<T>>>(
        &self,
        within: Duration,
        call: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Unavailable> {
        let state = self.link.state();
        let connection = self.connection(&state)?;
        self.answer(&state, within, call(connection)).await
    }

    /// What cannot be given back now is later, if there is room to remember it.
    fn owe(
        &self,
        pending: impl ExactSizeIterator<Item = PendingRelease>,
        error: Unavailable,
    ) -> Result<(), Unavailable> {
        if self.link.release_queue().add(pending) { Ok(()) } else { Err(error) }
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

    /// The answer, if it comes in time.
    async fn answer<T>(
        &self,
        state: &Arc<State>,
        within: Duration,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        let (reason, is_severed) = match tokio::time::timeout(within, answer).await {
            Ok(Ok(answer)) => {
                self.link.answered(state);
                return Ok(answer);
            }
            Ok(Err(error)) => (error.to_string(), error.is_io_error() || error.is_unrecoverable_error()),
            Err(_) => (format!("no answer in {} ms", within.as_millis()), false),
        };
        self.link.failed(state, &reason, is_severed);
        Err(self.unavailable(&reason))
    }
}

impl Counters for Redis {
    fn reserve<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Reserved, Unavailable>> {
        Box::pin(async move {
            let state = self.link.state();
            let connection = self.connection(&state)?;
            let commands = &self.link.server().commands;
            let mut unanswered = Unanswered::new(connection, commands, hook, measures, subject);
            self.answer(&state, CALL_MAX, unanswered.reserved()).await
        })
    }

    fn release<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
        added: u32,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            if added == 0 {
                return Ok(());
            }
            let release_queue =
                || PendingRelease::Release { hook, measures: measures.to_vec(), subject: *subject, added };
            let command = self.link.server().commands.release(hook, measures, subject, added);
            let given_back = self.call(CALL_MAX, |connection| run(connection, &RELEASE, command)).await;
            given_back.or_else(|error| self.owe(std::iter::once_with(release_queue), error))
        })
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            if rejected.is_empty() {
                return Ok(());
            }
            let mut pipeline = Pipeline::with_capacity(rejected.len());
            for subject in rejected {
                pipeline.add_command(self.link.server().commands.forget(subject));
            }
            let forgotten = self.call(FORGET_MAX, |connection| release_all(connection, pipeline)).await;
            forgotten.or_else(|error| self.owe(rejected.iter().copied().map(PendingRelease::Forget), error))
        })
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.link.state() {
            State::Up { .. } => Ok(()),
            State::Down { reason } => Err(reason.clone()),
        }
    }
}

/// What the script answers: a bit mask of what was added, and then a number a measure.
fn reserved(measures: &[Measure], answer: &[u64]) -> Option<Reserved> {
    let (added, numbers) = answer.split_first()?;
    if numbers.len() != measures.len() {
        return None;
    }
    let measured = measures.iter().zip(numbers).map(|(measure, number)| measured(measure, *number));
    Some(Reserved { measured: measured.collect(), added: u32::try_from(*added).ok()? })
}

fn measured(measure: &Measure, number: u64) -> Measured {
    match measure {
        Measure::Count { .. } => Measured::Count(number),
        Measure::Bucket { .. } => match u32::try_from(number).unwrap_or(u32::MAX) {
            0 => Measured::Conforming,
            wait_ms => Measured::ConformingInMs(wait_ms),
        },
        Measure::Sequence { .. } => Measured::Sequence(number),
    }
}
