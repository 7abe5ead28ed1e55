//! `sluice policy`

mod bench;
mod common;
mod replay;
mod signatures;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value};

use self::common::failed;
use super::admin_client::AdminArgs;
use super::common::{Failure, block_on, object, print};
use crate::policy;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the versions of all policies, newest first, with digest, size, world, version of the contract, signer,
    /// source, who uploaded them, and time. Asks a running gateway.
    List(AdminArgs),
    /// Print a component's world, version of the contract, size, digest, limits, measures, and its verdict on a trial
    /// request.
    Inspect {
        /// A built component, such as policies/random.wasm.
        file: PathBuf,
        /// The policy's configuration as JSON; the measures may depend on it.
        #[arg(long, default_value = "{}", value_name = "JSON", value_parser = object)]
        config: Map<String, Value>,
    },
    /// Build a component from a core module that was built with the SDK.
    Pack {
        /// The output of `cargo build --target wasm32-unknown-unknown`.
        module: PathBuf,
        /// The component to write.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print what a decision costs, by the size of its input: fuel, time and memory.
    Bench(bench::Args),
    /// Report what a policy would have decided about recorded requests.
    Replay(Box<replay::Args>),
    /// Create a private key that signs components, and print its public key for policies.trusted_keys.
    Keygen {
        /// The file for the private key. It must not exist.
        file: PathBuf,
    },
    /// Sign a component: the signature of NAME.wasm is written to NAME.wasm.sig.
    Sign(signatures::SignArgs),
    /// Print which key signed a component. The exit code is 1 if none of the trusted keys did.
    Verify(signatures::VerifyArgs),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(admin) => {
            let client = admin.client()?;
            let answer = block_on(client.get("/admin/policies"))?.map_err(Failure::run)?;
            print(&admin.format(&answer))?;
        }
        Command::Inspect { file, config } => {
            let bytes = std::fs::read(file).map_err(|error| failed("read", file, &error))?;
            let unusable = |error| Failure::run(format!("{}: {error}", file.display()));
            let inspection = block_on(policy::inspect(bytes, config.clone()))?.map_err(unusable)?;
            print(&inspection.to_string())?;
            inspection.trial.map_err(unusable)?;
        }
        Command::Pack { module, output } => {
            let bytes = std::fs::read(module).map_err(|error| failed("read", module, &error))?;
            let component = policy::pack(&bytes).map_err(|error| failed("pack", module, &error))?;
            std::fs::write(output, component).map_err(|error| failed("write", output, &error))?;
        }
        Command::Bench(args) => bench::run(args)?,
        Command::Replay(args) => replay::run(args)?,
        Command::Keygen { file } => signatures::keygen(file)?,
        Command::Sign(args) => signatures::sign(args)?,
        Command::Verify(args) => signatures::verify(args)?,
    }
    Ok(())
}
