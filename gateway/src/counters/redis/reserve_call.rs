//! A call to reserve that is in flight. Redis may count a request after the caller stopped waiting; what such an answer
//! added is released.

use std::future::poll_fn;

use ::redis::aio::MultiplexedConnection;
use ::redis::{ErrorKind, RedisResult};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::commands::{Commands, RELEASE, RESERVE, reserved, run};
use super::release::Release;
use crate::counters::{Hook, Measure, Reserved, Subject};
use crate::coupon::now_ms;

/// Dropped before it is answered, it releases whatever the answer added.
pub(super) struct ReserveCall<'a> {
    /// `None` once it is answered.
    answer: Option<BoxFuture<'static, RedisResult<Vec<u64>>>>,
    connection: MultiplexedConnection,
    commands: &'a Commands,
    hook: Hook,
    measures: &'a [Measure],
    subject: &'a Subject,
}

impl<'a> ReserveCall<'a> {
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

    /// Await this only once.
    pub(super) async fn reserved(&mut self) -> RedisResult<Reserved> {
        let Some(answer) = &mut self.answer else {
            return Err((ErrorKind::Client, "reservation awaited twice").into());
        };
        let answered = poll_fn(|context| answer.as_mut().poll(context)).await;
        self.answer = None;
        reserved(self.measures, &answered?)
            .ok_or_else(|| (ErrorKind::UnexpectedReturnType, "unexpected answer of the reserve script").into())
    }
}

impl Drop for ReserveCall<'_> {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let (connection, commands) = (self.connection.clone(), self.commands.clone());
        let (hook, measures, subject) = (self.hook, self.measures.to_vec(), *self.subject);
        runtime.spawn(async move {
            let Ok(Some(reserved)) = answer.await.map(|answer| reserved(&measures, &answer)) else { return };
            if reserved.added != 0 {
                let command = commands.release(&[Release::of_added(hook, &measures, &subject, reserved.added)]);
                if let Err(error) = run::<()>(connection, &RELEASE, command).await {
                    tracing::warn!(%error, request_id = %subject.request_id, "failed to release an abandoned reservation");
                }
            }
        });
    }
}
