//! `sluice topic`

use clap::Subcommand;

use super::common::{ConfigArgs, Failure, block_on, print};
use crate::log;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create the topic with its partitions and replicas if it is absent, and verify it. Safe to repeat.
    Ensure(ConfigArgs),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Ensure(args) = command;
    let config = args.load()?;
    let topics = block_on(log::ensure_topics(&config.log))?.map_err(Failure::run)?;
    if topics.is_empty() {
        print("log.url is embedded: no topic needed\n")?;
    }
    for ensured in topics {
        print(&format!("{} {}\n", ensured.topic, if ensured.is_new { "created" } else { "exists" }))?;
    }
    Ok(())
}
