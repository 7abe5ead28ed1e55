//! `sluice topic`

use clap::Subcommand;

use super::common::{ConfigArgs, Failure, block_on, print};
use crate::log::{self, Change};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create the topic with its partitions and replicas if it is absent, add the partitions of new ledger groups, and
    /// verify it. An embedded log gets the partitions of new ledger groups. Safe to repeat.
    Ensure(ConfigArgs),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Ensure(args) = command;
    let config = args.load()?;
    let topics = block_on(log::ensure_topics(&config.whole_log()))?.map_err(Failure::run)?;
    if topics.is_empty() {
        print("log.url is embedded: no topic needed\n")?;
    }
    for ensured in topics {
        let done = match ensured.change {
            Change::None => "exists",
            Change::Created => "created",
            Change::Extended => "has partitions for all ledger groups now",
        };
        print(&format!("{} {done}\n", ensured.name))?;
    }
    Ok(())
}
