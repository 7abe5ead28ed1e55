//! `sluice migrate`

use super::common::{ConfigArgs, Failure, block_on, print};
use crate::ledger;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let config = args.load()?;
    let applied = block_on(ledger::migrate(&config.ledger))?.map_err(Failure::run)?.applied;
    if applied.is_empty() {
        print("database is up to date\n")?;
    }
    applied.iter().try_for_each(|name| print(&format!("applied {name}\n")))?;
    Ok(())
}
