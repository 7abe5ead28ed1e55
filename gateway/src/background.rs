//! Background tasks as values: named, but not started. And work that outlives the client who asked for it.
//!
//! Opening a port or a watcher returns its background tasks, and only `app` runs them. So every task has a name, and
//! none ends unnoticed.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::Notify;

/// A named task that has not started. It runs until shutdown, when it is dropped.
pub struct Background {
    /// Identifies the task in logs and errors, such as `log writer`.
    pub name: Cow<'static, str>,
    /// Ends before shutdown only if it fails. Safe to drop at any await point.
    pub run: BoxFuture<'static, Result<(), TaskFailure>>,
}

/// Short work that a disconnecting client must not cancel: a disconnect drops the handler, and with it everything that
/// the handler awaits. `app` waits for such work at shutdown.
#[derive(Debug, Clone, Default)]
pub struct Detached(Arc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    running: AtomicUsize,
    idle: Notify,
}

/// Counts one piece of work as running, until it is dropped.
struct RunningWork(Arc<Tally>);

impl Drop for RunningWork {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Detached {
    /// Starts the work at once. It runs to its end, whether or not the caller awaits the result. A caller that awaits it
    /// gets a panic of the work too.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = T> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        let running = RunningWork(Arc::clone(&self.0));
        let task = tokio::spawn(async move {
            let _running = running;
            work.await
        });
        async move {
            match task.await {
                Ok(done) => done,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Only the end of the runtime cancels the work, and it drops the caller too.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Waits up to `within` until no work is running.
    pub(crate) async fn finish(&self, within: Duration) {
        if tokio::time::timeout(within, self.idle()).await.is_err() {
            let tasks = self.0.running.load(Ordering::Acquire);
            tracing::warn!(tasks, "work of disconnected clients did not finish in time");
        }
    }

    async fn idle(&self) {
        loop {
            // Registered before the check, so that no notification is missed.
            let mut idle = std::pin::pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if self.0.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn detached_work_goes_on_without_its_caller_and_finish_waits_for_it() {
        let detached = Detached::default();
        let (let_go, held) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        drop(detached.run(async move {
            held.await.expect("is let go");
            done.send(()).expect("somebody waits");
        }));
        detached.finish(Duration::from_millis(10)).await;
        let_go.send(()).expect("the work goes on");
        detached.finish(Duration::from_secs(5)).await;
        assert_eq!(is_done.await, Ok(()));
    }

    #[tokio::test]
    #[should_panic(expected = "too much")]
    async fn a_panic_in_detached_work_reaches_its_caller() {
        Detached::default().run(async { panic!("too much") }).await;
    }
}
