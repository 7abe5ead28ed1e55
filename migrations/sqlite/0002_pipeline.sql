-- The pipelines that were in force, and the components they were made of.
CREATE TABLE pipeline_generation (
    number          BIGINT NOT NULL PRIMARY KEY,
    pipeline        TEXT   NOT NULL,
    published_at_ms BIGINT NOT NULL
);

CREATE TABLE policy_component (
    digest TEXT NOT NULL PRIMARY KEY,
    bytes  BLOB NOT NULL
);
