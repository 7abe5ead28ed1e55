-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- Who uploaded a version of a policy: the name of an admin token, or `local`. NULL: it came from a folder, or before this
-- was recorded. MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_column = (
    SELECT IF(count(*) = 0, 'ALTER TABLE policy_version ADD COLUMN registered_by VARCHAR(64) NULL', 'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'policy_version' AND column_name = 'registered_by'
);
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
