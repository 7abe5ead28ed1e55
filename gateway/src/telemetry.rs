//! Logs and metrics.
//!
//! Call sites emit named events; only `metrics` knows metric names.

mod decisions;
mod event;
mod metrics;
mod pipelines;
mod policy_meter;
mod rollout_metrics;
mod rollouts;
mod series;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

pub use decisions::{DecisionsLost, DecisionsRecorded, Loss};
pub use event::{
    BatchSettled, BrokersSeen, CampaignGone, CertificateLoaded, CertificateRefused, ComponentCompiled, CountersMissed,
    CountersSeen, Event, GapSeen, GroupAppended, HandshakeFailed, InFlight, IssueAnswered, LagSeen, LedgerGroupSeen,
    OffsetsSeen, PartitionOwned, PartitionSeen, RecordAcknowledged, ReplicasSeen, SettlementRetried, ShardGone,
    StockSeen,
};
pub use metrics::Metrics;
pub use pipelines::{
    CouponPipelinePublished, CouponPipelinesNotLoaded, GenerationNotLoaded, GenerationPublished, GenerationRefused,
};
use policy_meter::PolicyMeters;
pub use policy_meter::{FailureReason, LiveInstance, PolicyMeter};
pub use rollouts::{ArmMeasured, GuardRead, RolloutEnded, RolloutsSeen, ShadowMeasured};

/// The metrics of one system. Clones share them.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    policy_meters: PolicyMeters,
}

impl Telemetry {
    /// New metrics, in which every series with labels known in advance exists with the value 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { metrics: Metrics::new(), policy_meters: PolicyMeters::default() }))
    }

    /// Updates the metrics that the event affects.
    pub fn emit(&self, event: impl Event) {
        event.record(&self.0.metrics);
    }

    /// The meter of one version of a policy in one hook. Equal arguments return the same meter.
    #[must_use]
    pub fn policy_meter(&self, hook: &str, policy: &str, version: &str) -> Arc<PolicyMeter> {
        self.0.policy_meters.get(&self.0.metrics, hook, policy, version)
    }

    /// All metrics in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.0.policy_meters.flush();
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
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// Format of the log on standard output: `text` or `json`.
    pub log_format: LogFormat,
    /// Minimum level to log, overall or by module, in the syntax of tracing's `EnvFilter`: `info`, `sluice=debug`.
    pub log_filter: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, log_filter: "info".to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
    Json,
}

/// Unless the log filter says otherwise: clients can make the HTTP/2 library warn as often as they like.
const HTTP2_LEVEL: &str = "h2=error";

/// Checks the log filter.
///
/// # Errors
/// If it cannot be parsed.
pub fn check(options: &Options) -> Result<(), String> {
    filter(options).map(|_| ())
}

/// Starts logging to standard output.
///
/// # Errors
/// If the log filter cannot be parsed, or logging was started before.
pub fn start_logging(options: &Options) -> Result<(), String> {
    dispatch(options, std::io::stdout)?.try_init().map_err(|error| format!("cannot start logging: {error}"))
}

fn filter(options: &Options) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(&options.log_filter)
        .map_err(|error| format!("telemetry.log_filter: expected an EnvFilter such as `info`: {error}"))?;
    let is_decided = options.log_filter.contains("h2");
    Ok(if is_decided { filter } else { filter.add_directive(HTTP2_LEVEL.parse().expect("a valid directive")) })
}

fn dispatch<W>(options: &Options, writer: W) -> Result<Dispatch, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(options)?)
        // A line that cannot be written (closed pipe, full disk) is dropped. By default the failure is printed to
        // standard error, and printing panics if that is closed too.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match options.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).finish().into(),
        LogFormat::Json => builder.json().flatten_event(true).finish().into(),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A closed pipe or a full disk.
    #[derive(Clone, Default)]
    struct FailingWriter {
        attempts: Arc<AtomicUsize>,
    }

    impl io::Write for FailingWriter {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_line_that_cannot_be_written_is_dropped() {
        for log_format in [LogFormat::Text, LogFormat::Json] {
            let writer = FailingWriter::default();
            let attempts = Arc::clone(&writer.attempts);
            let options = Options { log_format, ..Options::default() };
            let dispatch = dispatch(&options, move || writer.clone()).expect("a valid filter");
            tracing::dispatcher::with_default(&dispatch, || tracing::error!(value = 1, "a line"));
            assert!(attempts.load(Ordering::Relaxed) > 0, "{log_format:?}");
        }
    }

    /// Runs the test above in a process of its own: standard error belongs to the whole process.
    #[test]
    fn a_log_line_that_cannot_be_written_never_panics_even_if_standard_error_is_full() {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
        let output = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "telemetry::tests::a_log_line_that_cannot_be_written_is_dropped", "--nocapture"])
            .stdout(Stdio::piped())
            .stderr(full)
            .output()
            .expect("runs");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{}: {stdout}", output.status);
    }
}
