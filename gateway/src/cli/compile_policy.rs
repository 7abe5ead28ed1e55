//! `sluice compile-policy`

use super::common::Failure;
use crate::policy::{self, CompileLimits, Metering, WorkerError};

#[derive(clap::Args)]
pub(super) struct Args {
    #[arg(long)]
    memory_mib: u64,
    /// Of processor time.
    #[arg(long)]
    seconds: u64,
    /// For the engine that counts fuel.
    #[arg(long)]
    fuel: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let limits = CompileLimits { memory_mib: args.memory_mib, seconds: args.seconds };
    let metering = if args.fuel { Metering::Fuel } else { Metering::Time };
    policy::run_compiler(limits, metering).map_err(|error| match error {
        WorkerError::Invalid(message) => Failure { code: policy::INVALID_COMPONENT, message },
        error @ WorkerError::Io { .. } => Failure::run(error),
    })
}
