-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The signature of the component, as text; NULL if it was registered without one. MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_column = (
    SELECT IF(count(*) = 0,
              'ALTER TABLE policy_component ADD COLUMN signature VARCHAR(128) NULL',
              'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'policy_component' AND column_name = 'signature'
);
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
