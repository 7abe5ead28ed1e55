-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The arm of the rollout that decided about the request: 0 the active one, 1 the canary. The column is the last one and
-- has a constant default, so the server adds it at once, whatever the table holds. A consumer of an earlier version
-- writes the default. MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_column = (
    SELECT IF(count(*) = 0, 'ALTER TABLE issue_outcome ADD COLUMN arm TINYINT NOT NULL DEFAULT 0', 'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'issue_outcome' AND column_name = 'arm'
);
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
