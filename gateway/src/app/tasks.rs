//! Every background task of a system: named, in one set, under one cancellation token.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::background::{Background, TaskFailure};

/// The tasks of one system. Dropping it aborts them.
pub(super) struct Tasks {
    set: JoinSet<Result<(), TaskFailure>>,
    names: HashMap<Id, Cow<'static, str>>,
    shutdown: CancellationToken,
    /// The first failure.
    failure: Option<TaskFailure>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { set: JoinSet::new(), names: HashMap::new(), shutdown: CancellationToken::new(), failure: None }
    }

    /// A token that ends one stage of the system earlier than the rest, and at the latest with the rest.
    pub(super) fn stage(&self) -> CancellationToken {
        self.shutdown.child_token()
    }

    /// Starts a task. Shutdown drops it if it has not ended by then.
    pub(super) fn spawn<F>(&mut self, name: impl Into<Cow<'static, str>>, run: F)
    where
        F: Future<Output = Result<(), TaskFailure>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let task = async move { shutdown.run_until_cancelled_owned(run).await.unwrap_or(Ok(())) };
        let id = self.set.spawn(task).id();
        self.names.insert(id, name.into());
    }

    pub(super) fn spawn_background(&mut self, background: Background) {
        self.spawn(background.name, background.run);
    }

    /// Waits until a task ends, and returns its failure: a task that returns before shutdown has failed. Never resolves
    /// without tasks.
    pub(super) async fn failed(&mut self) -> TaskFailure {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        match self.next().await {
            Some((name, ended)) => {
                let failure = ended.err().unwrap_or_else(|| TaskFailure::ended(name));
                self.record(failure.clone());
                failure
            }
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        self.names.values().any(|running| running == name)
    }

    /// Waits for a task whose stage was cancelled. Another task that returns meanwhile is not
    /// a failure: the process ends in any case.
    pub(super) async fn finish(&mut self, name: &str) {
        while self.is_running(name)
            && let Some((_, ended)) = self.next().await
        {
            if let Err(failure) = ended {
                self.record(failure);
            }
        }
    }

    /// Drops the remaining tasks, waits up to `within` for them, and returns the first failure of any task.
    pub(super) async fn shut_down(mut self, within: Duration) -> Result<(), TaskFailure> {
        self.shutdown.cancel();
        let all = async {
            while let Some((_, ended)) = self.next().await {
                if let Err(failure) = ended {
                    self.record(failure);
                }
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(tasks = ?self.names.values().collect::<Vec<_>>(), "background tasks did not stop in time");
        }
        self.failure.map_or(Ok(()), Err)
    }

    async fn next(&mut self) -> Option<(Cow<'static, str>, Result<(), TaskFailure>)> {
        let joined = self.set.join_next_with_id().await?;
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or(Cow::Borrowed("unnamed"));
        let ended = match joined {
            Ok((_, ended)) => ended,
            Err(error) if error.is_panic() => Err(TaskFailure::panicked(name.clone(), &*error.into_panic())),
            Err(_) => Err(TaskFailure::ended(name.clone())),
        };
        Some((name, ended))
    }

    fn record(&mut self, failure: TaskFailure) {
        tracing::error!(task = %failure.task, cause = failure.cause, "background task failed");
        self.failure.get_or_insert(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> impl Future<Output = Result<(), TaskFailure>> {
        std::future::pending()
    }

    #[tokio::test]
    async fn a_task_that_panics_is_reported_by_name_with_its_message() {
        let mut tasks = Tasks::new();
        tasks.spawn("sampler", running());
        tasks.spawn("log writer", async { panic!("disk {}", 7) });
        let failure = tasks.failed().await;
        assert_eq!(failure.to_string(), "task `log writer` panicked: disk 7");
        assert_eq!(tasks.failed().await, failure, "the first failure stays");
        assert_eq!(tasks.shut_down(Duration::from_secs(5)).await, Err(failure));
    }

    #[tokio::test]
    async fn a_task_that_returns_before_shutdown_has_failed() {
        let mut tasks = Tasks::new();
        tasks.spawn("sampler", async { Ok(()) });
        assert_eq!(tasks.failed().await.to_string(), "task `sampler` ended before shutdown");
    }

    #[tokio::test]
    async fn a_task_that_ends_after_its_stage_was_cancelled_has_not_failed() {
        let mut tasks = Tasks::new();
        let stage = tasks.stage();
        let stopped = stage.clone();
        tasks.spawn("settlement", async move {
            stopped.cancelled().await;
            Ok(())
        });
        tasks.spawn("sampler", running());
        stage.cancel();
        tasks.finish("settlement").await;
        assert_eq!(tasks.shut_down(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_during_shutdown_is_a_failure() {
        let mut tasks = Tasks::new();
        let stage = tasks.stage();
        let stopped = stage.clone();
        tasks.spawn("settlement", async move {
            stopped.cancelled().await;
            panic!("late");
        });
        stage.cancel();
        tasks.finish("settlement").await;
        let ended = tasks.shut_down(Duration::from_secs(5)).await;
        assert_eq!(ended.expect_err("failed").to_string(), "task `settlement` panicked: late");
    }
}
