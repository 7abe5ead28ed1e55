-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The Idempotency-Keys of changes to campaigns, kept for a week. used_for tells a retry from another change.
CREATE TABLE IF NOT EXISTS admin_key (
    key_hash   BINARY(32)   NOT NULL PRIMARY KEY,
    used_for   VARCHAR(100) NOT NULL,
    used_at_ms BIGINT       NOT NULL,
    KEY used_at (used_at_ms)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
