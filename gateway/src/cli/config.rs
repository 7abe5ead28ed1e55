//! `sluice config`

use clap::Subcommand;

use super::common::{ConfigArgs, Failure, print};
use crate::app;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Report whether the configuration is valid; if not, where it is wrong and what was expected.
    Check(ConfigArgs),
    /// Print the whole configuration, with defaults and overrides, as a file that can be read back.
    Show(ConfigArgs),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => {
            app::check(&args.load()?).map_err(Failure::usage)?;
            print("configuration OK\n")
        }
        Command::Show(args) => print(&args.load()?.to_toml()),
    }
}
