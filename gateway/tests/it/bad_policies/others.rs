//! Calls that no policy decides about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crate::harness::Gateway;
use crate::load::{self, Latencies};

const STATUS_CALLS_PER_SECOND: f64 = 200.0;

/// Latency of status calls until this traffic ends, and what the traffic returned.
pub(super) async fn latencies_during<T>(gateway: &Gateway, traffic: impl Future<Output = T>) -> (Latencies, T) {
    let is_over = AtomicBool::new(false);
    let calls = std::iter::from_fn(|| (!is_over.load(Relaxed)).then_some(()));
    let call = |()| {
        let client = Arc::clone(&gateway.client);
        async move {
            let begun = Instant::now();
            let answer = client.get("/coupon/issue/00000000-0000-7000-8000-000000000000").await;
            assert_eq!(answer.status, 404);
            begun.elapsed()
        }
    };
    let traffic = async {
        let result = traffic.await;
        is_over.store(true, Relaxed);
        result
    };
    let (latencies, result) = tokio::join!(load::run_open(STATUS_CALLS_PER_SECOND, calls, call), traffic);
    (Latencies::of(latencies), result)
}
