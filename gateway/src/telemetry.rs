//! What the gateway says of itself: metrics by named events, and logs.
//!
//! Call sites emit what happened; only this file knows the names of metrics.

mod policy_meter;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use serde::{Deserialize, Serialize};

use crate::coupon::{CouponId, GenerationNo, Offset, PartitionNo, Reason, ShardNo};

pub use policy_meter::{FailureReason, PolicyMeter};

/// `[telemetry]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `text` or `json`, on standard output.
    pub log_format: LogFormat,
    /// What to log, in the syntax of tracing's `EnvFilter`, such as `info` or `sluice=debug`.
    pub log_filter: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, log_filter: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads the filter.
///
/// # Errors
/// When it cannot be read.
pub fn check(options: &Options) -> Result<(), String> {
    filter(options).map(|_| ())
}

fn filter(options: &Options) -> Result<tracing_subscriber::EnvFilter, String> {
    tracing_subscriber::EnvFilter::try_new(&options.log_filter)
        .map_err(|error| format!("telemetry.log_filter: expected an EnvFilter such as `info`: {error}"))
}

/// Starts logging to standard output.
///
/// # Errors
/// When the filter cannot be read.
pub fn start_logging(options: &Options) -> Result<(), String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(options)?).with_writer(std::io::stdout);
    let started = match options.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("start logging: {error}"))
}

/// Something that happened, and how the metrics know of it.
pub trait Event {
    /// Writes it to the metrics.
    fn record(self);
}

/// Makes an event known.
pub fn emit(event: impl Event) {
    event.record();
}

/// How `POST /coupon/issue` was answered.
#[derive(Debug, Clone, Copy)]
pub struct IssueAnswered {
    /// `accepted`, or the reason of the refusal in lower case.
    pub outcome: &'static str,
    /// From the first byte of the request to the answer.
    pub duration: Duration,
}

impl IssueAnswered {
    /// Series that exist from the start.
    pub const OUTCOMES: [&'static str; 15] = [
        "accepted",
        "malformed",
        "invalid",
        "coupon_not_found",
        "not_open",
        "paused",
        "closed",
        "sold_out",
        "user_limit",
        "rate_limited",
        "refused",
        "idempotency_conflict",
        "overloaded",
        "log_unavailable",
        "policy_unavailable",
    ];
}

impl Event for IssueAnswered {
    fn record(self) {
        METRICS.issue_requests.with_label_values(&[self.outcome]).inc();
        METRICS.issue_duration.observe(self.duration.as_secs_f64());
    }
}

/// The counters are in reach, or are not.
#[derive(Debug, Clone, Copy)]
pub struct CountersSeen {
    /// Whether they are.
    pub are_up: bool,
}

impl Event for CountersSeen {
    fn record(self) {
        METRICS.counters_up.set(self.are_up.into());
    }
}

/// The counters were asked and were out of reach.
#[derive(Debug, Clone, Copy)]
pub struct CountersMissed;

impl Event for CountersMissed {
    fn record(self) {
        METRICS.counters_unavailable.inc();
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
    fn record(self) {
        METRICS.log_append.observe(self.duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a group is small")]
        METRICS.log_append_records.observe(self.records as f64);
    }
}

/// A log that acknowledges one record at a time did so.
#[derive(Debug, Clone, Copy)]
pub struct RecordAcknowledged {
    /// Since it was appended.
    pub duration: Duration,
}

impl Event for RecordAcknowledged {
    fn record(self) {
        METRICS.log_append.observe(self.duration.as_secs_f64());
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
    fn record(self) {
        METRICS.log_lag.with_label_values(&[&self.partition.to_string()]).set(gauge(self.records));
    }
}

/// So many brokers are there.
#[derive(Debug, Clone, Copy)]
pub struct BrokersSeen(pub usize);

impl Event for BrokersSeen {
    fn record(self) {
        METRICS.log_brokers.with_label_values::<&str>(&[]).set(gauge(self.0 as u64));
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
    fn record(self) {
        let partition = &[&*self.partition.to_string()];
        METRICS.log_leader.with_label_values(partition).set(self.leader.into());
        METRICS.log_replicas.with_label_values(partition).set(gauge(self.replicas as u64));
        METRICS.log_replicas_in_sync.with_label_values(partition).set(gauge(self.in_sync as u64));
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
    fn record(self) {
        let partition = &[&*self.partition.to_string()];
        METRICS.log_start_offset.with_label_values(partition).set(gauge(self.start));
        METRICS.log_end_offset.with_label_values(partition).set(gauge(self.end));
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
    fn record(self) {
        METRICS.settled.with_label_values(&["issued"]).inc_by(self.issued);
        METRICS.settled.with_label_values(&["replayed"]).inc_by(self.replayed);
        for (reason, records) in self.rejected {
            METRICS.settled.with_label_values(&[reason_label(reason)]).inc_by(records);
        }
        for (coupon, records) in self.steals {
            METRICS.shard_steals.with_label_values(&[&coupon.to_string()]).inc_by(records);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        METRICS.settlement_batch.observe(self.records as f64);
        METRICS.settlement.observe(self.duration.as_secs_f64());
    }
}

/// A settlement was rolled back and will be tried again.
#[derive(Debug, Clone, Copy)]
pub struct SettlementRetried;

impl Event for SettlementRetried {
    fn record(self) {
        METRICS.settlement_retries.inc();
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
    fn record(self) {
        let labels = [&*self.coupon_id.to_string(), &*self.shard_no.to_string()];
        METRICS.shard_remaining.with_label_values(&labels).set(gauge(self.remaining));
        METRICS.shard_steals.with_label_values(&labels[..1]);
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
    fn record(self) {
        let labels = [&*self.coupon_id.to_string(), &*self.shard_no.to_string()];
        // A series that is not there is as gone as it should be.
        let _ = METRICS.shard_remaining.remove_label_values(&labels);
    }
}

/// A generation was published and decides from now on.
#[derive(Debug, Clone, Copy)]
pub struct GenerationPublished(pub GenerationNo);

impl Event for GenerationPublished {
    fn record(self) {
        METRICS.policy_generation.set(gauge(self.0));
        METRICS.policy_swaps.with_label_values(&["published"]).inc();
    }
}

/// A change of the pipeline was refused; the generation before it goes on deciding.
#[derive(Debug, Clone, Copy)]
pub struct GenerationRefused;

impl Event for GenerationRefused {
    fn record(self) {
        METRICS.policy_swaps.with_label_values(&["refused"]).inc();
    }
}

/// So many requests are being answered.
#[derive(Debug, Clone, Copy)]
pub struct InFlight(pub usize);

impl Event for InFlight {
    fn record(self) {
        METRICS.in_flight.set(gauge(self.0 as u64));
    }
}

/// All metrics in the Prometheus text format, version 0.0.4.
#[must_use]
pub fn render() -> Vec<u8> {
    let mut text = Vec::with_capacity(16 * 1024);
    TextEncoder::new().encode(&METRICS.registry.gather(), &mut text).expect("a registry of valid metrics encodes");
    text
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::SoldOut => "sold_out",
        Reason::UserLimit => "user_limit",
        Reason::Invalid => "invalid",
    }
}

struct Metrics {
    registry: Registry,
    issue_requests: IntCounterVec,
    issue_duration: Histogram,
    in_flight: IntGauge,
    policy_call: HistogramVec,
    policy_failures: IntCounterVec,
    policy_generation: IntGauge,
    policy_swaps: IntCounterVec,
    counters_up: IntGauge,
    counters_unavailable: IntCounter,
    log_append: Histogram,
    log_append_records: Histogram,
    log_lag: IntGaugeVec,
    log_brokers: IntGaugeVec,
    log_leader: IntGaugeVec,
    log_replicas: IntGaugeVec,
    log_replicas_in_sync: IntGaugeVec,
    log_start_offset: IntGaugeVec,
    log_end_offset: IntGaugeVec,
    settled: IntCounterVec,
    settlement_batch: Histogram,
    settlement: Histogram,
    settlement_retries: IntCounter,
    shard_remaining: IntGaugeVec,
    shard_steals: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Self {
        let registry = Registry::new();
        let latency: Vec<f64> =
            vec![0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let call: Vec<f64> =
            vec![0.000_000_5, 0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.001, 0.005, 0.01, 0.05];
        let batch: Vec<f64> = vec![1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];
        let metrics = Self {
            issue_requests: counters(
                &registry,
                "sluice_issue_requests_total",
                "Answers to POST /coupon/issue, by outcome.",
                &["outcome"],
            ),
            issue_duration: histogram(
                &registry,
                "sluice_issue_duration_seconds",
                "From a request's arrival to its answer.",
                latency.clone(),
            ),
            in_flight: gauge_of(&registry, "sluice_issue_in_flight", "Requests being answered."),
            policy_call: histograms(
                &registry,
                "sluice_policy_call_seconds",
                "A policy's decision, measured around the call into the guest.",
                call,
                &["hook", "policy", "version"],
            ),
            policy_failures: counters(
                &registry,
                "sluice_policy_failures_total",
                "Decisions that a policy did not give, by reason.",
                &["hook", "policy", "version", "reason"],
            ),
            policy_generation: gauge_of(&registry, "sluice_policy_generation", "The generation that decides."),
            policy_swaps: counters(
                &registry,
                "sluice_policy_swaps_total",
                "Changes of the pipeline, by what became of them.",
                &["outcome"],
            ),
            counters_up: gauge_of(&registry, "sluice_counters_up", "Whether the counters are in reach."),
            counters_unavailable: register(
                &registry,
                IntCounter::new(
                    "sluice_counters_unavailable_total",
                    "Times that the counters were asked and were out of reach.",
                ),
            ),
            log_append: histogram(
                &registry,
                "sluice_log_append_seconds",
                "Making records durable: a group commit of the embedded log, a record's acknowledgement by Kafka.",
                latency.clone(),
            ),
            log_append_records: histogram(
                &registry,
                "sluice_log_append_records",
                "Records made durable by one group commit of the embedded log.",
                batch.clone(),
            ),
            log_lag: gauges(
                &registry,
                "sluice_log_lag_records",
                "Records in the log that are not settled.",
                &["partition"],
            ),
            // The next six have no series on the embedded log.
            log_brokers: gauges(&registry, "sluice_log_brokers", "Brokers that the cluster says are there.", &[]),
            log_leader: gauges(
                &registry,
                "sluice_log_leader",
                "The broker that leads a partition; -1 while none does.",
                &["partition"],
            ),
            log_replicas: gauges(&registry, "sluice_log_replicas", "Replicas of a partition.", &["partition"]),
            log_replicas_in_sync: gauges(
                &registry,
                "sluice_log_replicas_in_sync",
                "Replicas of a partition that have all of it.",
                &["partition"],
            ),
            log_start_offset: gauges(
                &registry,
                "sluice_log_start_offset",
                "The offset of a partition's oldest record.",
                &["partition"],
            ),
            log_end_offset: gauges(
                &registry,
                "sluice_log_end_offset",
                "The offset after a partition's newest record.",
                &["partition"],
            ),
            settled: counters(&registry, "sluice_settled_total", "Settled records, by outcome.", &["outcome"]),
            settlement_batch: histogram(
                &registry,
                "sluice_settlement_batch_records",
                "Records settled by one transaction.",
                batch,
            ),
            settlement: histogram(&registry, "sluice_settlement_seconds", "One settlement transaction.", latency),
            settlement_retries: register(
                &registry,
                IntCounter::new(
                    "sluice_settlement_retries_total",
                    "Settlements that were rolled back and tried again.",
                ),
            ),
            shard_remaining: gauges(
                &registry,
                "sluice_shard_remaining",
                "Coupons left in a shard.",
                &["coupon", "shard"],
            ),
            shard_steals: counters(
                &registry,
                "sluice_shard_steals_total",
                "Coupons taken from a shard other than the one picked, because that one was empty.",
                &["coupon"],
            ),
            registry,
        };
        metrics.create_series();
        metrics
    }

    fn create_series(&self) {
        for outcome in IssueAnswered::OUTCOMES {
            self.issue_requests.with_label_values(&[outcome]);
        }
        let settled: BTreeSet<&str> = Reason::ALL.into_iter().map(reason_label).chain(["issued", "replayed"]).collect();
        for outcome in settled {
            self.settled.with_label_values(&[outcome]);
        }
        for outcome in ["published", "refused"] {
            self.policy_swaps.with_label_values(&[outcome]);
        }
    }
}

fn register<M: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the metric's name is valid");
    registry.register(Box::new(metric.clone())).expect("every metric has a name of its own");
    metric
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn gauge_of(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
}

fn histograms(registry: &Registry, name: &str, help: &str, buckets: Vec<f64>, labels: &[&str]) -> HistogramVec {
    register(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
}
