DELETE FROM ledger_group
