-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The log whose records this ledger settles. seen_at_ms: when a process last read the identity in the log itself; absent
-- until the log stores it.
CREATE TABLE IF NOT EXISTS log_identity (
    only_row   INT         NOT NULL PRIMARY KEY CHECK (only_row = 1),
    log_id     VARCHAR(36) NOT NULL,
    seen_at_ms BIGINT      NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Partition offsets that an operator moved.
CREATE TABLE IF NOT EXISTS offset_change (
    change_no     BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    partition_no  INT UNSIGNED NOT NULL,
    from_offset   BIGINT       NOT NULL,
    to_offset     BIGINT       NOT NULL,
    reason        VARCHAR(10)  NOT NULL CHECK (reason IN ('SKIP', 'ADOPT')),
    changed_at_ms BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
