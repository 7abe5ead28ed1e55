SELECT group_no, partitions_each, groups_seen FROM ledger_group
