//! The command line: one file per command, each one call into the library.

mod admin_client;
mod common;
mod compile_policy;
mod config;
mod coupon;
mod decisions;
mod log;
mod migrate;
mod open_files;
mod policy;
mod rollout;
mod serve;
mod simulate;
mod table;
mod topic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::common::{ConfigArgs, write};

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
    /// Bring the databases of ledger.url or ledger.urls to the version of this binary. Safe to repeat, also concurrently.
    Migrate(ConfigArgs),
    /// Create, extend or verify the Kafka topic of log.url.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Show the log that the ledger settles, give up missing records, or move the ledger to another log.
    #[command(subcommand)]
    Log(log::Command),
    /// Check or print the configuration. Starts nothing.
    #[command(subcommand)]
    Config(config::Command),
    /// Create, list and change campaigns through the admin API of a running gateway.
    Coupon(coupon::Args),
    /// Show what the policies decided about a sample of the requests, and explain it.
    Decisions(decisions::Args),
    /// List, inspect, measure and replay policies, and build components from core modules.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Start, watch and end rollouts: changed policies that serve some users before they serve all.
    Rollout(rollout::Args),
    /// Predict without load what a drop would do, for each shard picker: a simulation with the real policies.
    Simulate(Box<simulate::Args>),
    /// Compile a component. The gateway starts it.
    #[command(hide = true)]
    CompilePolicy(compile_policy::Args),
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Topic(command) => topic::run(&command),
        Command::Log(command) => log::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Coupon(args) => coupon::run(&args),
        Command::Decisions(args) => decisions::run(&args),
        Command::Policy(command) => policy::run(&command),
        Command::Rollout(args) => rollout::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::CompilePolicy(args) => compile_policy::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Without a standard error the exit code says it.
            let _ = write(&mut std::io::stderr(), format!("sluice: {}\n", failure.message).as_bytes());
            ExitCode::from(failure.code)
        }
    }
}
