//! What the commands share: the configuration option, failures with their exit code, output, and the async runtime.

use std::path::PathBuf;

use clap::Args;

use crate::config::Config;

/// Two, so that a policy that runs until its deadline blocks one worker, and the other one still serves requests.
const WORKERS_PER_PROCESSOR: usize = 2;

#[derive(Args)]
pub(super) struct ConfigArgs {
    /// The configuration file. Default: ./sluice.toml if it exists, else built-in defaults.
    /// The environment overrides any key: SLUICE__SECTION__KEY, as in SLUICE__HTTP__LISTEN=0.0.0.0:80.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), std::env::vars()).map_err(Failure::usage)
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

pub(super) fn print(text: &str) {
    write(&mut std::io::stdout(), text);
}

/// A closed pipe is not a failure: the reader, such as `head`, has all it wants.
pub(super) fn write(stream: &mut impl std::io::Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS_PER_PROCESSOR * processors).enable_all().build();
    Ok(runtime.map_err(Failure::run)?.block_on(future))
}
