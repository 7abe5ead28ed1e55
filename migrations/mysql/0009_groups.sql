-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- Which ledger group this database is. groups_seen: in the first group, the number of groups that have been in use.
CREATE TABLE IF NOT EXISTS ledger_group (
    only_row        INT          NOT NULL PRIMARY KEY CHECK (only_row = 1),
    group_no        INT UNSIGNED NOT NULL,
    partitions_each INT UNSIGNED NOT NULL,
    groups_seen     INT UNSIGNED NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- In the first group: the group of each coupon, stored before its campaign is created, so that no coupon gets two.
CREATE TABLE IF NOT EXISTS coupon_group (
    coupon_id BIGINT NOT NULL PRIMARY KEY,
    group_no  BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
