-- The log whose records this ledger settles. seen_at_ms: when a process last read the identity in the log itself; absent
-- until the log stores it.
CREATE TABLE log_identity (
    only_row   INT    NOT NULL PRIMARY KEY CHECK (only_row = 1),
    log_id     TEXT   NOT NULL,
    seen_at_ms BIGINT NULL
);

-- Partition offsets that an operator moved.
CREATE TABLE offset_change (
    change_no     INTEGER PRIMARY KEY AUTOINCREMENT,
    partition_no  INT    NOT NULL,
    from_offset   BIGINT NOT NULL,
    to_offset     BIGINT NOT NULL,
    reason        TEXT   NOT NULL CHECK (reason IN ('SKIP', 'ADOPT')),
    changed_at_ms BIGINT NOT NULL
);
