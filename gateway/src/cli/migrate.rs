//! `sluice migrate`

use super::common::{ConfigArgs, Failure, block_on, print};
use crate::coupon::GroupNo;
use crate::ledger;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let config = args.load()?;
    ledger::check(&config.ledger).map_err(Failure::run)?;
    for (group, options) in (0..).map(GroupNo).zip(config.ledger.of_groups()) {
        let label = config.ledger.label(group);
        let applied = block_on(ledger::migrate(&options))?.map_err(|error| Failure::run(format!("{label}{error}")))?;
        if applied.is_empty() {
            print(&format!("{label}database is up to date\n"))?;
        }
        applied.iter().try_for_each(|name| print(&format!("{label}applied {name}\n")))?;
    }
    Ok(())
}
