//! `sluice policy`

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::common::{Failure, block_on, print};
use crate::policy;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print a component's world, size, digest, measures and limits.
    Inspect {
        /// A built component, such as policies/random.wasm.
        file: PathBuf,
        /// The policy's configuration as JSON; the measures may depend on it.
        #[arg(long, default_value = "{}", value_name = "JSON")]
        config: String,
    },
    /// Build a component from a core module that was built with the SDK.
    Pack {
        /// The output of `cargo build --target wasm32-unknown-unknown`.
        module: PathBuf,
        /// The component to write.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Inspect { file, config } => {
            let bytes = std::fs::read(file).map_err(|error| failed("read", file, &error))?;
            let inspection = block_on(policy::inspect(bytes, config))?
                .map_err(|error| Failure::run(format!("{}: {error}", file.display())))?;
            print(&inspection.to_string())?;
        }
        Command::Pack { module, output } => {
            let bytes = std::fs::read(module).map_err(|error| failed("read", module, &error))?;
            let component = policy::pack(&bytes).map_err(|error| failed("pack", module, &error))?;
            std::fs::write(output, component).map_err(|error| failed("write", output, &error))?;
        }
    }
    Ok(())
}

fn failed(step: &str, path: &Path, error: &dyn Display) -> Failure {
    Failure::run(format!("{step} {}: {error}", path.display()))
}
