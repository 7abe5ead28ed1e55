//! What is computed from durations.

use std::time::{Duration, Instant};

pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let done = work.await;
    (begun.elapsed(), done)
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(crate) fn longest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}
