//! The events that metrics count.

use std::time::Duration;

use super::metrics::{Metrics, reason_label};
use crate::coupon::{CouponId, GroupNo, Offset, PartitionNo, Reason, ShardNo};

pub trait Event {
    /// Updates the metrics that the event affects.
    fn record(self, metrics: &Metrics);
}

/// `POST /coupon/issue` was answered.
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

/// A listener uses the certificate in its files.
#[derive(Debug, Clone, Copy)]
pub struct CertificateLoaded {
    /// Of the listener in the configuration: `http` or `admin`.
    pub section: &'static str,
    /// When the first certificate of the chain expires, since 1970.
    pub expires_at_seconds: i64,
}

impl Event for CertificateLoaded {
    fn record(self, metrics: &Metrics) {
        metrics.certificate_expiry.with_label_values(&[self.section]).set(self.expires_at_seconds);
        metrics.certificate_loaded.with_label_values(&[self.section]).set(1);
    }
}

/// The files of a listener's certificate have changed and cannot be loaded; it uses the certificate before.
#[derive(Debug, Clone, Copy)]
pub struct CertificateRefused {
    /// Of the listener in the configuration: `http` or `admin`.
    pub section: &'static str,
}

impl Event for CertificateRefused {
    fn record(self, metrics: &Metrics) {
        metrics.certificate_loaded.with_label_values(&[self.section]).set(0);
    }
}

/// A client did not complete a TLS handshake.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeFailed {
    /// Of the listener in the configuration: `http` or `admin`.
    pub section: &'static str,
}

impl Event for HandshakeFailed {
    fn record(self, metrics: &Metrics) {
        metrics.handshake_failures.with_label_values(&[self.section]).inc();
    }
}

/// The counters became reachable or unreachable.
#[derive(Debug, Clone, Copy)]
pub struct CountersSeen {
    /// Whether they are reachable, all nodes of a cluster.
    pub are_up: bool,
}

impl Event for CountersSeen {
    fn record(self, metrics: &Metrics) {
        metrics.counters_up.set(self.are_up.into());
    }
}

/// A request to the counters failed because they are unreachable.
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
    pub records: usize,
    /// Of the commit.
    pub duration: Duration,
}

impl Event for GroupAppended {
    fn record(self, metrics: &Metrics) {
        metrics.log_append.observe(self.duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a group is small")]
        metrics.log_append_records.observe(self.records as f64);
    }
}

/// Kafka acknowledged a record.
#[derive(Debug, Clone, Copy)]
pub struct RecordAcknowledged {
    /// From the append to the acknowledgement.
    pub duration: Duration,
}

impl Event for RecordAcknowledged {
    fn record(self, metrics: &Metrics) {
        metrics.log_append.observe(self.duration.as_secs_f64());
    }
}

/// The lag of a partition was measured.
#[derive(Debug, Clone, Copy)]
pub struct LagSeen {
    pub partition: PartitionNo,
    /// Records that are not settled.
    pub records: u64,
    /// How long the oldest of them has waited, as far as this process knows.
    pub seconds: f64,
}

impl Event for LagSeen {
    fn record(self, metrics: &Metrics) {
        let partition = &[&*self.partition.to_string()];
        metrics.log_lag.with_label_values(partition).set(gauge(self.records));
        metrics.log_lag_seconds.with_label_values(partition).set(self.seconds);
    }
}

/// This process began or ended to settle a partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionOwned {
    pub partition: PartitionNo,
    /// Whether it holds the newest claim, as far as it knows.
    pub is_owned: bool,
}

impl Event for PartitionOwned {
    fn record(self, metrics: &Metrics) {
        let partition = &[&*self.partition.to_string()];
        metrics.settlement_partition_owned.with_label_values(partition).set(self.is_owned.into());
    }
}

/// Whether this process stopped settling a partition at missing records.
#[derive(Debug, Clone, Copy)]
pub struct GapSeen {
    pub partition: PartitionNo,
    /// The missing records; 0 if there is no gap.
    pub records: u64,
}

impl Event for GapSeen {
    fn record(self, metrics: &Metrics) {
        metrics.log_gap.with_label_values(&[&self.partition.to_string()]).set(gauge(self.records));
    }
}

/// The log was asked whether a partition accepts records.
#[derive(Debug, Clone, Copy)]
pub struct PartitionSeen {
    pub partition: PartitionNo,
    pub accepts: bool,
}

impl Event for PartitionSeen {
    fn record(self, metrics: &Metrics) {
        metrics.log_accepts.with_label_values(&[&self.partition.to_string()]).set(self.accepts.into());
    }
}

/// A ledger group was polled.
#[derive(Debug, Clone, Copy)]
pub struct LedgerGroupSeen {
    pub group: GroupNo,
    pub is_reachable: bool,
}

impl Event for LedgerGroupSeen {
    fn record(self, metrics: &Metrics) {
        metrics.ledger_group_reachable.with_label_values(&[&self.group.to_string()]).set(self.is_reachable.into());
    }
}

/// The number of brokers in the cluster, as one of them reports it.
#[derive(Debug, Clone, Copy)]
pub struct BrokersSeen(pub usize);

impl Event for BrokersSeen {
    fn record(self, metrics: &Metrics) {
        metrics.log_brokers.with_label_values::<&str>(&[]).set(gauge(self.0 as u64));
    }
}

/// The replicas of a partition, as a broker reports them.
#[derive(Debug, Clone, Copy)]
pub struct ReplicasSeen {
    pub partition: i32,
    /// The id of the broker that accepts its records; -1 while there is none.
    pub leader: i32,
    pub replicas: usize,
    /// Replicas that store every record.
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

/// The first and the last record of a partition, as a broker reports them.
#[derive(Debug, Clone, Copy)]
pub struct OffsetsSeen {
    pub partition: i32,
    /// The offset of the oldest record.
    pub start: Offset,
    /// The offset after the newest record.
    pub end: Offset,
}

impl Event for OffsetsSeen {
    fn record(self, metrics: &Metrics) {
        let partition = &[&*self.partition.to_string()];
        metrics.log_start_offset.with_label_values(partition).set(gauge(self.start));
        metrics.log_end_offset.with_label_values(partition).set(gauge(self.end));
    }
}

/// A settlement transaction was committed.
#[derive(Debug, Clone, Default)]
pub struct BatchSettled {
    pub records: u64,
    /// Records with the outcome ISSUED.
    pub issued: u64,
    /// Records with the outcome REJECTED, by reason.
    pub rejected: Vec<(Reason, u64)>,
    /// Records whose request already had an outcome.
    pub replayed: u64,
    /// Coupons taken from another shard than the picked one, by coupon.
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
            metrics.count_steals(coupon, records);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        metrics.settlement_batch.observe(self.records as f64);
        metrics.settlement.observe(self.duration.as_secs_f64());
    }
}

/// A settlement transaction was rolled back and will be retried.
#[derive(Debug, Clone, Copy)]
pub struct SettlementRetried;

impl Event for SettlementRetried {
    fn record(self, metrics: &Metrics) {
        metrics.settlement_retries.inc();
    }
}

/// The stock of a shard was read.
#[derive(Debug, Clone, Copy)]
pub struct StockSeen {
    pub coupon_id: CouponId,
    pub shard_no: ShardNo,
    pub remaining: u64,
}

impl Event for StockSeen {
    fn record(self, metrics: &Metrics) {
        let labels = [&*self.coupon_id.to_string(), &*self.shard_no.to_string()];
        metrics.shard_remaining.with_label_values(&labels).set(gauge(self.remaining));
        metrics.count_steals_of(self.coupon_id);
    }
}

/// A reshard removed a shard.
#[derive(Debug, Clone, Copy)]
pub struct ShardGone {
    pub coupon_id: CouponId,
    pub shard_no: ShardNo,
}

impl Event for ShardGone {
    fn record(self, metrics: &Metrics) {
        let labels = [&*self.coupon_id.to_string(), &*self.shard_no.to_string()];
        // Fails if the series does not exist.
        let _ = metrics.shard_remaining.remove_label_values(&labels);
    }
}

/// A campaign is over.
#[derive(Debug, Clone, Copy)]
pub struct CampaignGone {
    pub coupon_id: CouponId,
}

impl Event for CampaignGone {
    fn record(self, metrics: &Metrics) {
        metrics.forget_steals_of(self.coupon_id);
    }
}

/// A component was compiled, or was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentCompiled {
    Now,
    /// By an earlier process; its code was read from the disk.
    Before,
    Failed,
}

impl Event for ComponentCompiled {
    fn record(self, metrics: &Metrics) {
        let outcome = match self {
            Self::Now => "compiled",
            Self::Before => "cached",
            Self::Failed => "failed",
        };
        metrics.policy_compilations.with_label_values(&[outcome]).inc();
    }
}

/// The number of requests in progress.
#[derive(Debug, Clone, Copy)]
pub struct InFlight(pub usize);

impl Event for InFlight {
    fn record(self, metrics: &Metrics) {
        metrics.in_flight.set(gauge(self.0 as u64));
    }
}

pub(super) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
