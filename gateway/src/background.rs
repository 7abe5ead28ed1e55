//! Background tasks as values: named, but not started.
//!
//! Opening a port or a watcher returns its background tasks, and only `app` runs them. So every task has a name, and
//! none ends unnoticed.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use futures_util::future::{BoxFuture, FutureExt};

/// A named task that has not started. It runs until shutdown, when it is dropped.
pub struct Background {
    /// Identifies the task in logs and errors, such as `log writer`.
    pub name: Cow<'static, str>,
    /// Ends before shutdown only if it fails. Safe to drop at any await point.
    pub run: BoxFuture<'static, Result<(), TaskFailure>>,
}

/// A task that panicked, or ended before shutdown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task `{task}` {cause}")]
pub struct TaskFailure {
    pub task: Cow<'static, str>,
    /// `panicked: MESSAGE` or `ended before shutdown`.
    pub cause: String,
}

impl Background {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name: name.into(), run: run.map(Ok).boxed() }
    }

    /// Runs a blocking loop on a thread. The loop must end by itself at shutdown: a thread cannot be dropped.
    pub(crate) fn blocking(name: impl Into<Cow<'static, str>>, run: impl FnOnce() + Send + 'static) -> Self {
        Self::new(name, async move {
            if let Err(error) = tokio::task::spawn_blocking(run).await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        })
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Background").field(&self.name).finish()
    }
}

impl TaskFailure {
    pub(crate) fn ended(task: impl Into<Cow<'static, str>>) -> Self {
        Self { task: task.into(), cause: "ended before shutdown".to_owned() }
    }

    pub(crate) fn panicked(task: impl Into<Cow<'static, str>>, payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { task: task.into(), cause: format!("panicked: {}", text.unwrap_or("no message")) }
    }
}

/// Panics if the environment variable `SLUICE_PANIC_IN` names this task, so that tests can make a task of the real
/// process fail. Does nothing in a build without debug assertions.
#[cfg(debug_assertions)]
pub(crate) fn fault_point(task: &str) {
    static FAULTY: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("SLUICE_PANIC_IN").ok());
    assert!(FAULTY.as_deref() != Some(task), "SLUICE_PANIC_IN names this task");
}

#[cfg(not(debug_assertions))]
pub(crate) const fn fault_point(_: &str) {}
