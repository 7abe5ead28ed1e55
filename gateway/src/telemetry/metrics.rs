//! Metric names, help texts, and the series that exist from the start.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::rollout_metrics::RolloutMetrics;
use super::series::{counters, gauge_of, gauges, histogram, histograms, register};
use crate::coupon::{CouponId, Reason};

/// Outcomes of `POST /coupon/issue`. Their series exist from the start, so that a rate over the first one is right.
const ISSUE_OUTCOMES: [&str; 16] = [
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
    "ledger_unavailable",
    "policy_unavailable",
];

pub struct Metrics {
    registry: Registry,
    pub(super) issue_requests: IntCounterVec,
    pub(super) issue_duration: Histogram,
    pub(super) in_flight: IntGauge,
    pub(super) certificate_expiry: IntGaugeVec,
    pub(super) certificate_loaded: IntGaugeVec,
    pub(super) handshake_failures: IntCounterVec,
    pub(super) policy_call: HistogramVec,
    pub(super) policy_failures: IntCounterVec,
    pub(super) policy_instances: IntGaugeVec,
    pub(super) policy_generation: IntGauge,
    pub(super) policy_generation_recorded: IntGauge,
    pub(super) policy_coupons_not_loaded: IntGauge,
    pub(super) policy_swaps: IntCounterVec,
    pub(super) policy_compilations: IntCounterVec,
    pub(super) decisions_recorded: IntCounter,
    pub(super) decisions_lost: IntCounterVec,
    pub(super) rollouts: RolloutMetrics,
    pub(super) counters_up: IntGauge,
    pub(super) counters_unavailable: IntCounter,
    pub(super) log_append: Histogram,
    pub(super) log_append_records: Histogram,
    pub(super) log_lag: IntGaugeVec,
    pub(super) log_lag_seconds: GaugeVec,
    pub(super) log_gap: IntGaugeVec,
    pub(super) log_accepts: IntGaugeVec,
    pub(super) log_brokers: IntGaugeVec,
    pub(super) log_leader: IntGaugeVec,
    pub(super) log_replicas: IntGaugeVec,
    pub(super) log_replicas_in_sync: IntGaugeVec,
    pub(super) log_start_offset: IntGaugeVec,
    pub(super) log_end_offset: IntGaugeVec,
    pub(super) settled: IntCounterVec,
    pub(super) settlement_batch: Histogram,
    pub(super) settlement: Histogram,
    pub(super) settlement_retries: IntCounter,
    pub(super) settlement_partition_owned: IntGaugeVec,
    pub(super) ledger_group_reachable: IntGaugeVec,
    pub(super) shard_remaining: IntGaugeVec,
    /// Only of the coupons in `counted_coupons`.
    shard_steals: IntCounterVec,
    /// The last records of a campaign may be settled when it is over. They must not bring its series back.
    counted_coupons: Mutex<BTreeSet<CouponId>>,
}

impl Metrics {
    pub(super) fn new() -> Self {
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
                "Responses to POST /coupon/issue, by outcome.",
                &["outcome"],
            ),
            issue_duration: histogram(
                &registry,
                "sluice_issue_duration_seconds",
                "Time from the arrival of a request to its response.",
                latency.clone(),
            ),
            in_flight: gauge_of(&registry, "sluice_issue_in_flight", "Requests in progress."),
            // A listener without TLS sets neither of the next two.
            certificate_expiry: gauges(
                &registry,
                "sluice_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of a listener, or one of its intermediates, expires, in seconds since 1970.",
                &["listener"],
            ),
            certificate_loaded: gauges(
                &registry,
                "sluice_tls_certificate_loaded",
                "1 if a listener uses the certificate in its files, 0 if they could not be loaded.",
                &["listener"],
            ),
            handshake_failures: counters(
                &registry,
                "sluice_tls_handshake_failures_total",
                "TLS handshakes that a client did not complete.",
                &["listener"],
            ),
            policy_call: histograms(
                &registry,
                "sluice_policy_call_seconds",
                "Duration of a policy call.",
                call,
                &["hook", "policy", "version"],
            ),
            policy_failures: counters(
                &registry,
                "sluice_policy_failures_total",
                "Policy calls without a valid decision, by reason.",
                &["hook", "policy", "version", "reason"],
            ),
            policy_instances: gauges(
                &registry,
                "sluice_policy_instances",
                "Live instances of a policy. Those that are being renewed are not counted.",
                &["hook", "policy", "version"],
            ),
            policy_generation: gauge_of(
                &registry,
                "sluice_policy_generation",
                "Number of the active generation of the default pipeline.",
            ),
            policy_generation_recorded: gauge_of(
                &registry,
                "sluice_policy_generation_recorded",
                "Number of the newest generation of the default pipeline in the ledger. It differs from the active one \
                 while it cannot be loaded.",
            ),
            policy_coupons_not_loaded: gauge_of(
                &registry,
                "sluice_policy_coupons_not_loaded",
                "Coupons whose newest pipeline in the ledger cannot be loaded.",
            ),
            policy_swaps: counters(
                &registry,
                "sluice_policy_swaps_total",
                "Pipeline changes, by outcome: published or refused.",
                &["outcome"],
            ),
            policy_compilations: counters(
                &registry,
                "sluice_policy_compilations_total",
                "Loaded policy components, by outcome: compiled, cached (compiled code read from the disk) or failed.",
                &["outcome"],
            ),
            decisions_recorded: register(
                &registry,
                IntCounter::new("sluice_decisions_recorded_total", "Sampled decisions that were written to a file."),
            ),
            rollouts: RolloutMetrics::new(&registry),
            decisions_lost: counters(
                &registry,
                "sluice_decisions_lost_total",
                "Sampled decisions that were not recorded, by reason: queue_full (the disk is too slow) or write_failed.",
                &["reason"],
            ),
            counters_up: gauge_of(
                &registry,
                "sluice_counters_up",
                "1 if the counters are reachable, all nodes of a cluster, 0 if not.",
            ),
            counters_unavailable: register(
                &registry,
                IntCounter::new(
                    "sluice_counters_unavailable_total",
                    "Requests to the counters that failed because they are unreachable.",
                ),
            ),
            log_append: histogram(
                &registry,
                "sluice_log_append_seconds",
                "Time to make records durable: a group commit of the embedded log, or Kafka's acknowledgement of a record.",
                latency.clone(),
            ),
            log_append_records: histogram(
                &registry,
                "sluice_log_append_records",
                "Records in a group commit of the embedded log.",
                batch.clone(),
            ),
            log_lag: gauges(
                &registry,
                "sluice_log_lag_records",
                "Records in the log that are not settled.",
                &["partition"],
            ),
            log_lag_seconds: register(
                &registry,
                GaugeVec::new(
                    Opts::new(
                        "sluice_log_lag_seconds",
                        "Time for which the oldest unsettled record has waited: since its arrival in the process that \
                         settles its batch, elsewhere since the process first saw records wait at this offset.",
                    ),
                    &["partition"],
                ),
            ),
            log_gap: gauges(
                &registry,
                "sluice_log_gap_records",
                "Missing records at which this process stopped settling a partition; 0 if none is missing.",
                &["partition"],
            ),
            log_accepts: gauges(
                &registry,
                "sluice_log_accepts",
                "1 if a partition accepts records, 0 if not.",
                &["partition"],
            ),
            // The embedded log sets none of the next six.
            log_brokers: gauges(&registry, "sluice_log_brokers", "Brokers in the Kafka cluster.", &[]),
            log_leader: gauges(
                &registry,
                "sluice_log_leader",
                "Id of the broker that leads a partition; -1 while there is none.",
                &["partition"],
            ),
            log_replicas: gauges(&registry, "sluice_log_replicas", "Replicas of a partition.", &["partition"]),
            log_replicas_in_sync: gauges(
                &registry,
                "sluice_log_replicas_in_sync",
                "In-sync replicas of a partition.",
                &["partition"],
            ),
            log_start_offset: gauges(
                &registry,
                "sluice_log_start_offset",
                "Offset of the oldest record of a partition.",
                &["partition"],
            ),
            log_end_offset: gauges(
                &registry,
                "sluice_log_end_offset",
                "Offset after the newest record of a partition.",
                &["partition"],
            ),
            settled: counters(&registry, "sluice_settled_total", "Settled records, by outcome.", &["outcome"]),
            settlement_batch: histogram(
                &registry,
                "sluice_settlement_batch_records",
                "Records in a settlement transaction.",
                batch,
            ),
            settlement: histogram(
                &registry,
                "sluice_settlement_seconds",
                "Duration of a settlement transaction.",
                latency,
            ),
            settlement_retries: register(
                &registry,
                IntCounter::new(
                    "sluice_settlement_retries_total",
                    "Settlement transactions that were rolled back and retried.",
                ),
            ),
            settlement_partition_owned: gauges(
                &registry,
                "sluice_settlement_partition_owned",
                "1 if this process settles the partition, 0 if not. A gateway has no series.",
                &["partition"],
            ),
            ledger_group_reachable: gauges(
                &registry,
                "sluice_ledger_group_reachable",
                "1 if the database of the ledger group answers, 0 if not. An embedded ledger has no series.",
                &["group"],
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
                "Coupons taken from another shard than the picked one, because that was exhausted.",
                &["coupon"],
            ),
            counted_coupons: Mutex::default(),
            registry,
        };
        metrics.create_series();
        metrics
    }

    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a registry of valid metrics encodes");
        text
    }

    /// Counts the steals of a coupon from now on.
    pub(super) fn count_steals_of(&self, coupon: CouponId) {
        if self.lock_counted_coupons().insert(coupon) {
            self.shard_steals.with_label_values(&[&coupon.to_string()]);
        }
    }

    pub(super) fn count_steals(&self, coupon: CouponId, records: u64) {
        if self.lock_counted_coupons().contains(&coupon) {
            self.shard_steals.with_label_values(&[&coupon.to_string()]).inc_by(records);
        }
    }

    pub(super) fn forget_steals_of(&self, coupon: CouponId) {
        if self.lock_counted_coupons().remove(&coupon) {
            // Fails if the series does not exist.
            let _ = self.shard_steals.remove_label_values(&[&coupon.to_string()]);
        }
    }

    fn lock_counted_coupons(&self) -> MutexGuard<'_, BTreeSet<CouponId>> {
        self.counted_coupons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create_series(&self) {
        for outcome in ISSUE_OUTCOMES {
            self.issue_requests.with_label_values(&[outcome]);
        }
        let settled: BTreeSet<&str> = Reason::ALL.into_iter().map(reason_label).chain(["issued", "replayed"]).collect();
        for outcome in settled {
            self.settled.with_label_values(&[outcome]);
        }
        for listener in ["http", "admin"] {
            self.handshake_failures.with_label_values(&[listener]);
        }
        for reason in ["queue_full", "write_failed"] {
            self.decisions_lost.with_label_values(&[reason]);
        }
        for outcome in ["published", "refused"] {
            self.policy_swaps.with_label_values(&[outcome]);
        }
        for outcome in ["compiled", "cached", "failed"] {
            self.policy_compilations.with_label_values(&[outcome]);
        }
    }
}

pub(super) fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::SoldOut => "sold_out",
        Reason::UserLimit => "user_limit",
        Reason::Invalid => "invalid",
    }
}
