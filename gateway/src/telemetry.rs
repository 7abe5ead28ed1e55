//! What the gateway says of itself: logs, and metrics by named events.
//!
//! Call sites emit what happened; only `metrics` knows the names of metrics.

mod event;
mod metrics;
mod policy_meter;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use event::{
    BatchSettled, BrokersSeen, CountersMissed, CountersSeen, Event, GenerationPublished, GenerationRefused,
    GroupAppended, InFlight, IssueAnswered, LagSeen, OffsetsSeen, RecordAcknowledged, ReplicasSeen, SettlementRetried,
    ShardGone, StockSeen,
};
pub use metrics::Metrics;
use policy_meter::PolicyMeters;
pub use policy_meter::{FailureReason, PolicyMeter};

/// Where the parts of one system report what happens. Clones report to the same metrics.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    policy_meters: PolicyMeters,
}

impl Telemetry {
    /// Fresh metrics: every series that is known in advance exists and is 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { metrics: Metrics::new(), policy_meters: PolicyMeters::default() }))
    }

    /// Records an event in the metrics.
    pub fn emit(&self, event: impl Event) {
        event.record(&self.0.metrics);
    }

    /// The meter of one version of a policy in one hook.
    #[must_use]
    pub fn policy_meter(&self, hook: &str, policy: &str, version: &str) -> Arc<PolicyMeter> {
        self.0.policy_meters.get(&self.0.metrics, hook, policy, version)
    }

    /// All metrics in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.0.metrics.render()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(options)?)
        // A line that cannot be written (closed pipe, full disk) is dropped: reporting it on stderr could panic.
        .log_internal_errors(false)
        .with_writer(std::io::stdout);
    let started = match options.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("start logging: {error}"))
}
