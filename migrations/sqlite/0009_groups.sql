-- Which ledger group this database is. groups_seen: in the first group, the number of groups that have been in use.
CREATE TABLE ledger_group (
    only_row        INT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    group_no        INT NOT NULL,
    partitions_each INT NOT NULL,
    groups_seen     INT NOT NULL
);

-- In the first group: the group of each coupon, stored before its campaign is created, so that no coupon gets two.
CREATE TABLE coupon_group (
    coupon_id BIGINT NOT NULL PRIMARY KEY,
    group_no  INT    NOT NULL
) WITHOUT ROWID;
