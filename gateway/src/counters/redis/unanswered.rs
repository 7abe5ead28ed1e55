//! A take that is on its way. Redis may count a request for which nobody waits any more, because the
//! answer came too late or the client hung up; what it then says it added is given back.

use std::future::poll_fn;

use ::redis::aio::MultiplexedConnection;
use ::redis::{ErrorKind, RedisResult};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::commands::{Commands, RELEASE, RESERVE, run};
use super::reserved;
use crate::counters::{Hook, Measure, Reserved, Subject};
use crate::coupon::now_ms;

/// Gives back what comes of it, unless somebody takes it.
pub(super) struct Unanswered<'a> {
    /// Until it is answered.
    answer: Option<BoxFuture<'static, RedisResult<Vec<u64>>>>,
    connection: MultiplexedConnection,
    commands: &'a Commands,
    hook: Hook,
    measures: &'a [Measure],
    subject: &'a Subject,
}

impl<'a> Unanswered<'a> {
    pub(super) fn new(
        connection: MultiplexedConnection,
        commands: &'a Commands,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
    ) -> Self {
        let answer = run(connection.clone(), &RESERVE, commands.reserve(hook, measures, subject, now_ms()));
        Self { answer: Some(Box::pin(answer)), connection, commands, hook, measures, subject }
    }

    /// What was measured; to be awaited once.
    pub(super) async fn reserved(&mut self) -> RedisResult<Reserved> {
        let Some(answer) = &mut self.answer else {
            return Err((ErrorKind::Client, "asked twice").into());
        };
        let answered = poll_fn(|context| answer.as_mut().poll(context)).await;
        self.answer = None;
        reserved(self.measures, &answered?).ok_or_else(|| (ErrorKind::UnexpectedReturnType, "not an answer").into())
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let (connection, commands) = (self.connection.clone(), self.commands.clone());
        let (hook, measures, subject) = (self.hook, self.measures.to_vec(), *self.subject);
        runtime.spawn(async move {
            let Ok(Some(reserved)) = answer.await.map(|answer| reserved(&measures, &answer)) else { return };
            if reserved.added != 0 {
                let command = commands.release(hook, &measures, &subject, reserved.added);
                if let Err(error) = run::<()>(connection, &RELEASE, command).await {
                    tracing::warn!(%error, "a user may be counted for longer than they should");
                }
            }
        });
    }
}
