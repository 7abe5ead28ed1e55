-- The Idempotency-Keys of changes to campaigns, kept for a week. used_for tells a retry from another change.
CREATE TABLE admin_key (
    key_hash   BLOB   NOT NULL PRIMARY KEY,
    used_for   TEXT   NOT NULL,
    used_at_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX admin_key_used_at ON admin_key (used_at_ms);

-- Finds the request that used an Idempotency-Key. Counters in memory forget keys at a restart, this file does not;
-- a server's ledger has no such index, because counters in Redis remember.
CREATE INDEX issue_outcome_key ON issue_outcome (fingerprint) WHERE fingerprint IS NOT NULL;
