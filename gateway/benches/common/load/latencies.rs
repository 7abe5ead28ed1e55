//! Durations in a histogram with three significant digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

pub(crate) struct Latencies(Histogram<u64>);

#[derive(Clone, Copy, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Absent if there are too few values.
    pub(crate) p999_ms: Option<f64>,
    pub(crate) max_ms: f64,
}

/// Five values are above the percentile then.
const VALUES_FOR_P999: u64 = 5_000;

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new(3).expect("three digits are possible"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.record(u64::try_from(latency.as_nanos()).expect("short")).expect("the histogram grows");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `None` without a value.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let ms = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1e6;
        let count = self.count();
        let p999_ms = (count >= VALUES_FOR_P999).then(|| ms(0.999));
        (count > 0).then(|| Quantiles { count, p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms, max_ms: ms(1.0) })
    }
}

impl Quantiles {
    /// p50, p99, p99.9 and the maximum, as cells of a table.
    pub(crate) fn cells(&self) -> Vec<String> {
        let [p50, p99, max] = [self.p50_ms, self.p99_ms, self.max_ms].map(|ms| format!("{ms:.3}"));
        let p999 = self.p999_ms.map_or_else(String::new, |ms| format!("{ms:.3}"));
        vec![p50, p99, p999, max]
    }
}
