INSERT INTO ledger_group (only_row, group_no, partitions_each, groups_seen) VALUES (1, ?, ?, ?)
    ON DUPLICATE KEY UPDATE groups_seen = greatest(groups_seen, VALUES(groups_seen))
