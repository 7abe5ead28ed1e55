-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- A version of a policy is its name and the digest of its component, which never change. The version of a name with the
-- highest order_no is the newest: a pipeline that names the policy gets it.
CREATE TABLE IF NOT EXISTS policy_version (
    name             VARCHAR(64)  NOT NULL,
    digest           VARCHAR(128) NOT NULL,
    order_no         BIGINT       NOT NULL UNIQUE,
    world            VARCHAR(32)  NOT NULL,
    contract         VARCHAR(32)  NOT NULL,
    bytes            BIGINT       NOT NULL,
    source           VARCHAR(16)  NOT NULL,
    registered_at_ms BIGINT       NOT NULL,
    PRIMARY KEY (name, digest),
    KEY policy_version_by_digest (digest)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Every registration locks and raises it, so that versions have one order.
CREATE TABLE IF NOT EXISTS policy_order (
    only_row INT    NOT NULL PRIMARY KEY CHECK (only_row = 1),
    newest   BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT INTO policy_order (only_row, newest) VALUES (1, 0) ON DUPLICATE KEY UPDATE only_row = only_row;
