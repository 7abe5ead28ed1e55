//! The command line: one file per command, each one call into the library.

mod admin_client;
mod config;
mod coupon;
mod migrate;
mod policy;
mod serve;
mod table;
mod topic;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;

/// Two per processor: a worker whose policy burns its deadline shares its processor with another worker, so the
/// requests of others go on.
const WORKERS_PER_PROCESSOR: usize = 2;

/// A first-come-first-served issuance gateway whose decisions are WebAssembly policies.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Start a gateway on this machine, with nothing else installed:
  sluice serve
  curl -i http://127.0.0.1:8080/coupon/issue -H 'Content-Type: application/json' -d '{
    \"userId\": 48213, \"couponId\": 104, \"policyId\": 21, \"typeSnapshot\": \"FIXED\"}'

Exit codes: 0 success, 1 failure, 2 wrong command line or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a gateway, a consumer or both, until SIGTERM. Requests in progress are finished first.
    Serve(serve::Args),
    /// Bring the database of ledger.url to the version of this binary. Safe to repeat, also concurrently.
    Migrate(ConfigArgs),
    /// Create or verify the Kafka topic of log.url.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Check or print the configuration. Starts nothing.
    #[command(subcommand)]
    Config(config::Command),
    /// Create, list and change campaigns through the admin API of a running gateway.
    Coupon(coupon::Args),
    /// Inspect policies, and build components from core modules.
    #[command(subcommand)]
    Policy(policy::Command),
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration file. Default: ./sluice.toml if it exists, else built-in defaults.
    /// The environment overrides any key: SLUICE__SECTION__KEY, as in SLUICE__HTTP__LISTEN=0.0.0.0:80.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), std::env::vars()).map_err(Failure::usage)
    }
}

/// Why a command failed, and its exit code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command line or the configuration is wrong.
    fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    /// The command was right and did not succeed.
    fn run(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Topic(command) => topic::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Coupon(args) => coupon::run(&args),
        Command::Policy(command) => policy::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            write(&mut std::io::stderr(), &format!("sluice: {}\n", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

/// Prints to standard output.
fn print(text: &str) {
    write(&mut std::io::stdout(), text);
}

/// A reader that closed its end, such as `head`, has seen enough: that is no failure.
fn write(stream: &mut impl std::io::Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS_PER_PROCESSOR * processors).enable_all().build();
    Ok(runtime.map_err(Failure::run)?.block_on(future))
}
