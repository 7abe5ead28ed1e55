//! How busy this gateway is, for the rate shaper. A background task samples the load; a request only reads the result.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::coupon::{GroupLayout, GroupNo, Offset, PartitionNo, UnixMs, now_ms};
use crate::log::Log;
use crate::policy;
use crate::settlement::Progress;
use crate::telemetry::{GapSeen, LagSeen, PartitionSeen, Telemetry};

/// Sampling interval. A rate shaper sees a burst after this time at the latest.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Half-life of the moving averages. A shorter one follows noise, a longer one hides a burst.
const HALF_LIFE_SECONDS: f64 = 0.5;

/// The load at the last sample.
#[derive(Debug)]
pub struct LoadGauge {
    arrivals: AtomicU64,
    arrivals_per_second: AtomicF64,
    grants_per_second: AtomicF64,
    layout: GroupLayout,
    /// Of each ledger group.
    lag_seconds: Vec<AtomicF64>,
    /// Of each partition.
    lag_records: Vec<AtomicU64>,
}

/// The totals at the last sample, from which the next one computes rates.
#[derive(Debug)]
pub struct Sampler {
    at: Instant,
    arrivals: u64,
    grants: u64,
}

impl LoadGauge {
    /// No load.
    #[must_use]
    pub fn new(layout: GroupLayout) -> Self {
        let partitions = layout.groups().flat_map(|group| layout.partitions_of(group));
        Self {
            arrivals: AtomicU64::new(0),
            arrivals_per_second: AtomicF64::default(),
            grants_per_second: AtomicF64::default(),
            layout,
            lag_seconds: layout.groups().map(|_| AtomicF64::default()).collect(),
            lag_records: partitions.map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts a request that arrived, accepted or not.
    pub fn count_arrival(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// Unsettled records of a partition, at the last sample.
    #[must_use]
    pub fn lag_records(&self, partition: PartitionNo) -> u64 {
        self.lag_records.get(partition.0 as usize).map_or(0, |lag| lag.load(Ordering::Relaxed))
    }

    /// The load as policies see it, with the current number of requests in flight. The lag is that of one ledger group: if
    /// the database of another one is down, requests need not be delayed.
    #[must_use]
    pub fn read(&self, in_flight: usize, group: GroupNo) -> policy::Load {
        let lag_records = self.layout.partitions_of(group).map(|partition| self.lag_records(partition)).sum();
        policy::Load {
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            arrivals_per_second: self.arrivals_per_second.get(),
            grants_per_second: self.grants_per_second.get(),
            lag_records,
            lag_seconds: self.lag_seconds.get(group.index()).map_or(0.0, AtomicF64::get),
        }
    }

    /// The totals at this time, which is now.
    #[must_use]
    pub fn sampler(&self, at: Instant, progress: &Progress) -> Sampler {
        Sampler { at, arrivals: self.arrivals.load(Ordering::Relaxed), grants: progress.granted() }
    }

    /// Updates the load, and the gauges of all partitions.
    pub fn sample(&self, sampler: &mut Sampler, log: &dyn Log, progress: &Progress, telemetry: &Telemetry) {
        let end_offset = |partition| log.end_offset(partition);
        self.update(sampler, Instant::now(), now_ms(), progress, end_offset, |lag| {
            let LagSeen { partition, .. } = lag;
            let missing = progress.gap(partition).map_or(0, |gap| gap.records());
            telemetry.emit(lag);
            telemetry.emit(GapSeen { partition, records: missing });
            telemetry.emit(PartitionSeen { partition, accepts: log.accepts(partition).is_ok() });
        });
    }

    /// Updates the load from the difference to the previous sample, and reports the lag of each partition. Both `at` and
    /// `now` are the current time.
    pub fn update(
        &self,
        sampler: &mut Sampler,
        at: Instant,
        now: UnixMs,
        progress: &Progress,
        end_offset: impl Fn(PartitionNo) -> Offset,
        mut report: impl FnMut(LagSeen),
    ) {
        let next = self.sampler(at, progress);
        let seconds = next.at.duration_since(sampler.at).as_secs_f64().max(f64::EPSILON);
        self.arrivals_per_second.approach((next.arrivals - sampler.arrivals) as f64 / seconds, seconds);
        self.grants_per_second.approach((next.grants - sampler.grants) as f64 / seconds, seconds);
        *sampler = next;

        let mut oldest = vec![0.0_f64; self.lag_seconds.len()];
        for (partition, lag) in (0..).map(PartitionNo).zip(&self.lag_records) {
            let end = end_offset(partition);
            let records = end.saturating_sub(progress.next_offset(partition));
            let seconds = progress.lag_seconds(partition, end, now);
            lag.store(records, Ordering::Relaxed);
            report(LagSeen { partition, records, seconds });
            if let Some(oldest) = self.layout.group_of(partition).and_then(|group| oldest.get_mut(group.index())) {
                *oldest = oldest.max(seconds);
            }
        }
        self.lag_seconds.iter().zip(oldest).for_each(|(lag, oldest)| lag.set(oldest));
    }
}

#[derive(Debug, Default)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// An exponentially weighted moving average.
    fn approach(&self, value: f64, seconds: f64) {
        let kept = 0.5_f64.powf(seconds / HALF_LIFE_SECONDS);
        self.set(self.get() * kept + value * (1.0 - kept));
    }
}
