INSERT INTO ledger_group (only_row, group_no, partitions_each, groups_seen) VALUES (1, ?, ?, ?)
    ON CONFLICT (only_row) DO UPDATE SET groups_seen = max(groups_seen, excluded.groups_seen)
