-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- Before this offset, the counters have forgotten every rejected request. It is never ahead of next_offset. MySQL has
-- no ADD COLUMN IF NOT EXISTS.
SET @add_column = (
    SELECT IF(count(*) = 0, 'ALTER TABLE partition_offset ADD COLUMN released_offset BIGINT NULL', 'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'partition_offset' AND column_name = 'released_offset'
);
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;

UPDATE partition_offset SET released_offset = next_offset WHERE released_offset IS NULL;

ALTER TABLE partition_offset MODIFY released_offset BIGINT NOT NULL DEFAULT 0;
