//! Load generators: a closed model (fixed concurrency) and an open model (fixed rate).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The open model pauses at this number of unanswered requests: the gateway is overloaded by then, and more would
/// only use up sockets.
const UNANSWERED_MAX: usize = 4096;

/// Starts items in order; results come in any order.
pub(crate) async fn run_closed<T, R, F>(
    concurrency: usize,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
    handle: impl Fn(T) -> F + Clone + Send + 'static,
) -> Vec<R>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R> + Send,
{
    let items = Arc::new(Mutex::new(items.into_iter()));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let (items, handle) = (Arc::clone(&items), handle.clone());
        workers.spawn(async move {
            let mut results = Vec::new();
            loop {
                let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(item) = next else { return results };
                results.push(handle(item).await);
            }
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

pub(crate) async fn run_open<T, R, F>(
    per_second: f64,
    items: impl IntoIterator<Item = T>,
    handle: impl Fn(T) -> F,
) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(UNANSWERED_MAX));
    let begun = tokio::time::Instant::now();
    let mut under_way = JoinSet::new();
    for (number, item) in items.into_iter().enumerate() {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(number as f64 / per_second)).await;
        let place = Arc::clone(&places).acquire_owned().await.expect("is never closed");
        let handling = handle(item);
        under_way.spawn(async move {
            let result = handling.await;
            drop(place);
            result
        });
    }
    under_way.join_all().await
}

#[derive(Debug, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }

    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place).or(self.0.last()).copied().unwrap_or_default()
    }

    pub(crate) fn max(&self) -> Duration {
        self.quantile(1.0)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        write!(f, "p50 {p50:.1?}, p99 {p99:.1?}, max {:.1?}", self.max())
    }
}

pub(crate) fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
