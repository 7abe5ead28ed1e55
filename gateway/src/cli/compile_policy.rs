//! `sluice compile-policy`

use super::common::Failure;
use crate::policy::{self, CompileLimits, WorkerError};

#[derive(clap::Args)]
pub(super) struct Args {
    #[arg(long)]
    memory_mib: u64,
    /// Of processor time.
    #[arg(long)]
    seconds: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let limits = CompileLimits { memory_mib: args.memory_mib, seconds: args.seconds };
    policy::run_compiler(limits).map_err(|error| match error {
        WorkerError::Invalid(message) => Failure { code: policy::INVALID_COMPONENT, message },
        error @ WorkerError::Io { .. } => Failure::run(error),
    })
}
