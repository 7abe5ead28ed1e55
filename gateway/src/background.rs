//! Work that runs for as long as the system does, described but not started.
//!
//! Whoever opens a port or a watcher returns its background work as a value, and `app` alone runs it: so every
//! task has a name, and none can end unnoticed.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use futures_util::future::{BoxFuture, FutureExt};

/// A named task that has not been started. It runs until shutdown, when it is dropped.
pub struct Background {
    /// Names the task in logs and errors, such as `log writer`.
    pub name: Cow<'static, str>,
    /// Ends early only by failing. Dropped at any point, it leaves nothing half done.
    pub run: BoxFuture<'static, Result<(), TaskFailure>>,
}

/// A task that panicked, or ended although nobody had stopped it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task `{task}` {cause}")]
pub struct TaskFailure {
    /// The task's name.
    pub task: Cow<'static, str>,
    /// `panicked: …`, or how it ended.
    pub cause: String,
}

impl Background {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name: name.into(), run: run.map(Ok).boxed() }
    }

    /// For a loop that blocks its thread. It must end by itself at shutdown: a thread cannot be dropped.
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
    /// A task that returned before shutdown.
    pub(crate) fn ended(task: impl Into<Cow<'static, str>>) -> Self {
        Self { task: task.into(), cause: "ended before shutdown".to_owned() }
    }

    /// A task that panicked with this payload.
    pub(crate) fn panicked(task: impl Into<Cow<'static, str>>, payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { task: task.into(), cause: format!("panicked: {}", text.unwrap_or("no message")) }
    }
}

/// Panics if the environment variable `SLUICE_PANIC_IN` names this task. Tests use it to make a task of the real
/// process fail; a build without debug assertions has no such hook.
#[cfg(debug_assertions)]
pub(crate) fn fault_point(task: &str) {
    static FAULTY: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("SLUICE_PANIC_IN").ok());
    assert!(FAULTY.as_deref() != Some(task), "SLUICE_PANIC_IN names this task");
}

#[cfg(not(debug_assertions))]
pub(crate) const fn fault_point(_: &str) {}
