-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- A coupon with its terms of sale. Its stock stands in coupon_issue_shard.
CREATE TABLE IF NOT EXISTS campaign (
    coupon_id      BIGINT       NOT NULL PRIMARY KEY,
    policy_id      BIGINT       NOT NULL,
    total          BIGINT       NOT NULL,
    shards         INT UNSIGNED NOT NULL,
    per_user_limit INT UNSIGNED NOT NULL,
    state          VARCHAR(10)  NOT NULL CHECK (state IN ('OPEN', 'PAUSED', 'CLOSED')),
    opens_at_ms    BIGINT       NULL,
    closes_at_ms   BIGINT       NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The stock, split so that settlements of one coupon need not wait for one row. The shards of a coupon
-- lie in their order, which is the order in which they are locked.
CREATE TABLE IF NOT EXISTS coupon_issue_shard (
    coupon_issue_id BIGINT       NOT NULL AUTO_INCREMENT UNIQUE,
    coupon_id       BIGINT       NOT NULL,
    shard_no        INT UNSIGNED NOT NULL,
    remaining       BIGINT       NOT NULL CHECK (remaining >= 0),
    PRIMARY KEY (coupon_id, shard_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- How each request ended; a row never changes. coupon_id and what follows from it are absent where
-- the record could not be read. grant_no counts a user's coupons: the unique key on it holds the
-- limit even when two partitions settle one user at the same time.
CREATE TABLE IF NOT EXISTS issue_outcome (
    request_id      BINARY(16)   NOT NULL PRIMARY KEY,
    status          VARCHAR(10)  NOT NULL CHECK (status IN ('ISSUED', 'SOLD_OUT', 'USER_LIMIT', 'INVALID')),
    coupon_id       BIGINT       NULL,
    user_id         BIGINT       NULL,
    grant_no        INT UNSIGNED NULL,
    shard_no        INT UNSIGNED NULL,
    picked_shard_no INT UNSIGNED NULL,
    generation      BIGINT       NULL,
    fingerprint     BIGINT       NULL,
    partition_no    INT UNSIGNED NOT NULL,
    log_offset      BIGINT       NOT NULL,
    arrived_at_ms   BIGINT       NULL,
    settled_at_ms   BIGINT       NOT NULL,
    terms           TEXT         NULL,
    UNIQUE KEY one_grant (coupon_id, user_id, grant_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- How far each partition of the log is settled, and whose it is to settle.
CREATE TABLE IF NOT EXISTS partition_offset (
    partition_no INT UNSIGNED NOT NULL PRIMARY KEY,
    epoch        BIGINT       NOT NULL,
    next_offset  BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
