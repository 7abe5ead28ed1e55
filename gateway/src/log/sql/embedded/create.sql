-- The records of one partition that one commit made durable. Ten thousand records a second cost a few hundred rows.
CREATE TABLE IF NOT EXISTS record_batch (
    batch_no       INTEGER PRIMARY KEY,
    partition_no   INT    NOT NULL,
    base_offset    BIGINT NOT NULL,
    records        INT    NOT NULL,
    appended_at_ms BIGINT NOT NULL,
    payload        BLOB   NOT NULL,
    UNIQUE (partition_no, base_offset)
);

-- Records that can never settle, for an operator to inspect.
CREATE TABLE IF NOT EXISTS dead_letter (
    partition_no INT    NOT NULL,
    log_offset   BIGINT NOT NULL,
    reason       TEXT   NOT NULL,
    value        BLOB   NOT NULL,
    PRIMARY KEY (partition_no, log_offset)
);

CREATE TABLE IF NOT EXISTS log_shape (
    only_row   INT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    partitions INT NOT NULL
);

-- The identity that the ledger of this log stores too.
CREATE TABLE IF NOT EXISTS log_identity (
    only_row INT  NOT NULL PRIMARY KEY CHECK (only_row = 1),
    log_id   TEXT NOT NULL
);
