-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The campaign whose grants refer to the terms: they are deleted with its outcomes. digest is the start of a SHA-256 of
-- both. NULL: an earlier version wrote the row, whose digest is of the terms alone, and several campaigns may share it.
-- MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_column = (
    SELECT IF(count(*) = 0,
              'ALTER TABLE issue_terms
                   ADD COLUMN coupon_id BIGINT NULL,
                   ADD KEY issue_terms_by_coupon (coupon_id)',
              'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'issue_terms' AND column_name = 'coupon_id'
);
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
