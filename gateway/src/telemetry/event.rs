//! What can happen that metrics know of.

use std::time::Duration;

use super::metrics::{Metrics, reason_label};
use crate::coupon::{CouponId, GenerationNo, Offset, PartitionNo, Reason, ShardNo};

/// Something that happened, and how the metrics know of it.
pub trait Event {
    /// Updates the metrics that the event affects.
    fn record(self, metrics: &Metrics);
}

/// How `POST /coupon/issue` was answered.
#[derive(Debug, Clone, Copy)]
pub struct IssueAnswered {
    /// `accepted`, or the reason of the refusal in lower case.
    pub outcome: &'static str,
    /// From the first byte of the request to the answer.
    pub duration: Duration,
}

impl Event for IssueAnswered {
    fn record(self, metrics: &Metrics) {
        metrics.issue_requests.with_label_values(&[self.outcome]).inc();
        metrics.issue_duration.observe(self.duration.as_secs_f64());
    }
}

/// The counters are in reach, or are not.
#[derive(Debug, Clone, Copy)]
pub struct CountersSeen {
    /// Whether they are.
    pub are_up: bool,
}

impl Event for CountersSeen {
    fn record(self, metrics: &Metrics) {
        metrics.counters_up.set(self.are_up.into());
    }
}

/// The counters were asked and were out of reach.
#[derive(Debug, Clone, Copy)]
pub struct CountersMissed;

impl Event for CountersMissed {
    fn record(self, metrics: &Metrics) {
        metrics.counters_unavailable.inc();
    }
}

/// A group of records became durable.
#[derive(Debug, Clone, Copy)]
pub struct GroupAppended {
    /// How many.
    pub records: usize,
    /// How long the commit took.
    pub duration: Duration,
}

impl Event for GroupAppended {
    fn record(self, metrics: &Metrics) {
        metrics.log_append.observe(self.duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a group is small")]
        metrics.log_append_records.observe(self.records as f64);
    }
}

/// A log that acknowledges one record at a time did so.
#[derive(Debug, Clone, Copy)]
pub struct RecordAcknowledged {
    /// Since it was appended.
    pub duration: Duration,
}

impl Event for RecordAcknowledged {
    fn record(self, metrics: &Metrics) {
        metrics.log_append.observe(self.duration.as_secs_f64());
    }
}

/// The log of a partition has so many records that are not settled.
#[derive(Debug, Clone, Copy)]
pub struct LagSeen {
    /// Which partition.
    pub partition: PartitionNo,
    /// How many.
    pub records: u64,
}

impl Event for LagSeen {
    fn record(self, metrics: &Metrics) {
        metrics.log_lag.with_label_values(&[&self.partition.to_string()]).set(gauge(self.records));
    }
}

/// So many brokers are there.
#[derive(Debug, Clone, Copy)]
pub struct BrokersSeen(pub usize);

impl Event for BrokersSeen {
    fn record(self, metrics: &Metrics) {
        metrics.log_brokers.with_label_values::<&str>(&[]).set(gauge(self.0 as u64));
    }
}

/// Who has a partition of the log.
#[derive(Debug, Clone, Copy)]
pub struct ReplicasSeen {
    /// Which partition.
    pub partition: i32,
    /// The broker that takes its records; -1 while there is none.
    pub leader: i32,
    /// How many brokers have it.
    pub replicas: usize,
    /// How many of them have all of it.
    pub in_sync: usize,
}

impl Event for ReplicasSeen {
    fn record(self, metrics: &Metrics) {
        let partition = &[&*self.partition.to_string()];
        metrics.log_leader.with_label_values(partition).set(self.leader.into());
        metrics.log_replicas.with_label_values(partition).set(gauge(self.replicas as u64));
        metrics.log_replicas_in_sync.with_label_values(partition).set(gauge(self.in_sync as u64));
    }
}

/// What a partition of the log holds.
#[derive(Debug, Clone, Copy)]
pub struct OffsetsSeen {
    /// Which partition.
    pub partition: i32,
    /// Of the oldest record.
    pub start: Offset,
    /// After the newest record.
    pub end: Offset,
}

impl Event for OffsetsSeen {
    fn record(self, metrics: &Metrics) {
        let partition = &[&*self.partition.to_string()];
        metrics.log_start_offset.with_label_values(partition).set(gauge(self.start));
        metrics.log_end_offset.with_label_values(partition).set(gauge(self.end));
    }
}

/// A batch was settled.
#[derive(Debug, Clone, Default)]
pub struct BatchSettled {
    /// Records of the log that it covered.
    pub records: u64,
    /// ISSUED.
    pub issued: u64,
    /// REJECTED, by reason.
    pub rejected: Vec<(Reason, u64)>,
    /// Requests that had an outcome already.
    pub replayed: u64,
    /// Coupons taken from a shard other than the one picked.
    pub steals: Vec<(CouponId, u64)>,
    /// From the first statement to the commit.
    pub duration: Duration,
}

impl Event for BatchSettled {
    fn record(self, metrics: &Metrics) {
        metrics.settled.with_label_values(&["issued"]).inc_by(self.issued);
        metrics.settled.with_label_values(&["replayed"]).inc_by(self.replayed);
        for (reason, records) in self.rejected {
            metrics.settled.with_label_values(&[reason_label(reason)]).inc_by(records);
        }
        for (coupon, records) in self.steals {
            metrics.shard_steals.with_label_values(&[&coupon.to_string()]).inc_by(records);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        metrics.settlement_batch.observe(self.records as f64);
        metrics.settlement.observe(self.duration.as_secs_f64());
    }
}

/// A settlement was rolled back and will be tried again.
#[derive(Debug, Clone, Copy)]
pub struct SettlementRetried;

impl Event for SettlementRetried {
    fn record(self, metrics: &Metrics) {
        metrics.settlement_retries.inc();
    }
}

/// The stock of a shard as the gateway now knows it.
#[derive(Debug, Clone, Copy)]
pub struct StockSeen {
    /// Of which coupon.
    pub coupon_id: CouponId,
    /// Which shard.
    pub shard_no: ShardNo,
    /// What is left.
    pub remaining: u64,
}

impl Event for StockSeen {
    fn record(self, metrics: &Metrics) {
        let labels = [&*self.coupon_id.to_string(), &*self.shard_no.to_string()];
        metrics.shard_remaining.with_label_values(&labels).set(gauge(self.remaining));
        metrics.shard_steals.with_label_values(&labels[..1]);
    }
}

/// A shard is no more: a reshard removed it.
#[derive(Debug, Clone, Copy)]
pub struct ShardGone {
    /// Of which coupon.
    pub coupon_id: CouponId,
    /// Which shard.
    pub shard_no: ShardNo,
}

impl Event for ShardGone {
    fn record(self, metrics: &Metrics) {
        let labels = [&*self.coupon_id.to_string(), &*self.shard_no.to_string()];
        // A series that is not there is as gone as it should be.
        let _ = metrics.shard_remaining.remove_label_values(&labels);
    }
}

/// A generation was published and decides from now on.
#[derive(Debug, Clone, Copy)]
pub struct GenerationPublished(pub GenerationNo);

impl Event for GenerationPublished {
    fn record(self, metrics: &Metrics) {
        metrics.policy_generation.set(gauge(self.0));
        metrics.policy_swaps.with_label_values(&["published"]).inc();
    }
}

/// A change of the pipeline was refused; the generation before it goes on deciding.
#[derive(Debug, Clone, Copy)]
pub struct GenerationRefused;

impl Event for GenerationRefused {
    fn record(self, metrics: &Metrics) {
        metrics.policy_swaps.with_label_values(&["refused"]).inc();
    }
}

/// So many requests are being answered.
#[derive(Debug, Clone, Copy)]
pub struct InFlight(pub usize);

impl Event for InFlight {
    fn record(self, metrics: &Metrics) {
        metrics.in_flight.set(gauge(self.0 as u64));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
