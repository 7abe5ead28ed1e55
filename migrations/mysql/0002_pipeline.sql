-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The pipelines that were in force, and the components they were made of.
CREATE TABLE IF NOT EXISTS pipeline_generation (
    number          BIGINT   NOT NULL PRIMARY KEY,
    pipeline        LONGTEXT NOT NULL,
    published_at_ms BIGINT   NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS policy_component (
    digest VARCHAR(128) NOT NULL PRIMARY KEY,
    bytes  LONGBLOB     NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
