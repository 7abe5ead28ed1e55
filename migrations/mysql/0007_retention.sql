-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- version: the ledger's version of the campaign's last change. outcomes_deleted: what the retention deleted
-- completely. deletion_began: 1 as soon as it deleted an outcome. MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_columns = (
    SELECT IF(count(*) = 0,
              'ALTER TABLE campaign
                   ADD COLUMN version BIGINT NOT NULL DEFAULT 1,
                   ADD COLUMN closed_at_ms BIGINT NULL,
                   ADD COLUMN outcomes_deleted VARCHAR(10) NOT NULL DEFAULT ''NONE''
                       CHECK (outcomes_deleted IN (''NONE'', ''REJECTIONS'', ''ALL'')),
                   ADD COLUMN deletion_began INT NOT NULL DEFAULT 0,
                   ADD KEY campaign_by_version (version)',
              'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'campaign' AND column_name = 'version'
);
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;

UPDATE campaign SET closed_at_ms = unix_timestamp() * 1000 WHERE state = 'CLOSED' AND closed_at_ms IS NULL;

-- Every change of a campaign raises it, so that a process reads only what changed since its last read.
CREATE TABLE IF NOT EXISTS campaign_version (
    only_row INT    NOT NULL PRIMARY KEY CHECK (only_row = 1),
    version  BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT INTO campaign_version (only_row, version) VALUES (1, 1) ON DUPLICATE KEY UPDATE only_row = only_row;
