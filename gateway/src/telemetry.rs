//! What the gateway says of itself: logs, and metrics by named events.
//!
//! Call sites emit what happened; only `metrics` knows the names of metrics.

mod event;
mod metrics;
mod policy_meter;

use serde::{Deserialize, Serialize};

pub use event::{
    BatchSettled, BrokersSeen, CountersMissed, CountersSeen, Event, GenerationPublished, GenerationRefused,
    GroupAppended, InFlight, IssueAnswered, LagSeen, OffsetsSeen, RecordAcknowledged, ReplicasSeen, SettlementRetried,
    ShardGone, StockSeen, emit,
};
pub use metrics::render;
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
