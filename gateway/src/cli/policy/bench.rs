//! `sluice policy bench`

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::common::failed;
use crate::cli::common::{Failure, block_on, object, print};
use crate::cli::table::table;
use crate::policy::{self, Options};

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// A built component, such as policies/random.wasm.
    file: PathBuf,
    /// The policy's configuration as JSON.
    #[arg(long, default_value = "{}", value_name = "JSON", value_parser = object)]
    config: Map<String, Value>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let component = std::fs::read(&args.file).map_err(|error| failed("read", &args.file, &error))?;
    let rows = block_on(policy::bench(&Options::default(), component, args.config.clone()))?;
    let rows = rows.map_err(|error| Failure::run(format!("{}: {error}", args.file.display())))?;
    let rows = serde_json::to_value(rows).expect("numbers are JSON");
    print(&if args.json { format!("{rows:#}\n") } else { table(&rows) })
}
