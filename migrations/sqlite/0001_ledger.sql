-- A coupon with its terms of sale. Its stock stands in coupon_issue_shard.
CREATE TABLE campaign (
    coupon_id      BIGINT NOT NULL PRIMARY KEY,
    policy_id      BIGINT NOT NULL,
    total          BIGINT NOT NULL,
    shards         INT    NOT NULL,
    per_user_limit INT    NOT NULL,
    state          TEXT   NOT NULL CHECK (state IN ('OPEN', 'PAUSED', 'CLOSED')),
    opens_at_ms    BIGINT NULL,
    closes_at_ms   BIGINT NULL
);

-- The stock, split so that settlements of one coupon need not wait for one row.
CREATE TABLE coupon_issue_shard (
    coupon_issue_id INTEGER PRIMARY KEY AUTOINCREMENT,
    coupon_id       BIGINT NOT NULL,
    shard_no        INT    NOT NULL,
    remaining       BIGINT NOT NULL CHECK (remaining >= 0),
    UNIQUE (coupon_id, shard_no)
);

-- How each request ended; a row never changes. coupon_id and what follows from it are absent where
-- the record could not be read. grant_no counts a user's coupons: the unique key on it holds the
-- limit even when two partitions settle one user at the same time.
CREATE TABLE issue_outcome (
    request_id      BLOB   NOT NULL PRIMARY KEY,
    status          TEXT   NOT NULL CHECK (status IN ('ISSUED', 'SOLD_OUT', 'USER_LIMIT', 'INVALID')),
    coupon_id       BIGINT NULL,
    user_id         BIGINT NULL,
    grant_no        INT    NULL,
    shard_no        INT    NULL,
    picked_shard_no INT    NULL,
    generation      BIGINT NULL,
    fingerprint     BIGINT NULL,
    partition_no    INT    NOT NULL,
    log_offset      BIGINT NOT NULL,
    arrived_at_ms   BIGINT NULL,
    settled_at_ms   BIGINT NOT NULL,
    terms           TEXT   NULL,
    UNIQUE (coupon_id, user_id, grant_no)
) WITHOUT ROWID;

-- How far each partition of the log is settled, and whose it is to settle.
CREATE TABLE partition_offset (
    partition_no INT    NOT NULL PRIMARY KEY,
    epoch        BIGINT NOT NULL,
    next_offset  BIGINT NOT NULL
);
