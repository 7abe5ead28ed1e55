//! `sluice config`

use clap::Subcommand;

use super::common::{ConfigArgs, Failure, block_on, print, warn};
use crate::app;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Report whether the configuration is valid; if not, where it is wrong and what was expected. Also warns about
    /// options that have no effect.
    Check(ConfigArgs),
    /// Print the whole configuration, with defaults and overrides, as a file that can be read back.
    Show(ConfigArgs),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => {
            let config = args.load()?;
            let mut warnings = block_on(app::check(&config))?.map_err(Failure::usage)?;
            warnings.extend(config.unused(std::env::vars_os()));
            warnings.iter().for_each(|warning| warn(warning));
            print("configuration OK\n")
        }
        Command::Show(args) => print(&args.load()?.to_toml()),
    }
}
