-- A version of a policy is its name and the digest of its component, which never change. The version of a name with the
-- highest order_no is the newest: a pipeline that names the policy gets it.
CREATE TABLE policy_version (
    name             TEXT   NOT NULL,
    digest           TEXT   NOT NULL,
    order_no         BIGINT NOT NULL UNIQUE,
    world            TEXT   NOT NULL,
    contract         TEXT   NOT NULL,
    bytes            BIGINT NOT NULL,
    source           TEXT   NOT NULL,
    registered_at_ms BIGINT NOT NULL,
    PRIMARY KEY (name, digest)
);

CREATE INDEX policy_version_by_digest ON policy_version (digest);

-- Every registration locks and raises it, so that versions have one order.
CREATE TABLE policy_order (
    only_row INT    NOT NULL PRIMARY KEY CHECK (only_row = 1),
    newest   BIGINT NOT NULL
);

INSERT INTO policy_order (only_row, newest) VALUES (1, 0);
