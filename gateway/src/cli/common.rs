//! What the commands share: the configuration option, failures with their exit code, output, and the async runtime.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use crate::app;
use crate::config::Config;

/// A client library may still be in a blocking call to a server that does not answer: the exit does not wait for it.
const BLOCKING_CALLS_END_WITHIN: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct ConfigArgs {
    /// The configuration file. Default: ./sluice.toml if it exists, else built-in defaults.
    /// The environment overrides any key: SLUICE__SECTION__KEY, as in SLUICE__HTTP__LISTEN=0.0.0.0:80.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), std::env::vars_os()).map_err(Failure::usage)
    }
}

/// Why a command failed, and its exit code.
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
}

impl Failure {
    /// The command line or the configuration is invalid.
    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    /// The command was valid and failed.
    pub(super) fn run(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }
}

/// Parses the configuration of a policy.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(text)
}

/// Prints to standard output. A closed pipe is not a failure: the reader, such as `head`, has all it wants.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes()).map(|_| ())
}

/// Whether standard output is still read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Open,
    Closed,
}

/// As [`print()`], for output in several parts.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<Reader, Failure> {
    match write(&mut std::io::stdout(), bytes) {
        Ok(()) => Ok(Reader::Open),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Reader::Closed),
        Err(error) => Err(Failure::run(format!("write to standard output: {error}"))),
    }
}

/// Prints a warning to standard error. The command succeeds, also without a standard error.
pub(super) fn warn(message: &str) {
    let _ = write(&mut std::io::stderr(), format!("sluice: warning: {message}\n").as_bytes());
}

pub(super) fn write(stream: &mut impl std::io::Write, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = app::runtime().map_err(Failure::run)?;
    let output = runtime.block_on(future);
    runtime.shutdown_timeout(BLOCKING_CALLS_END_WITHIN);
    Ok(output)
}
