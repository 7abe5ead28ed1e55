-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- The coupon whose own pipeline a generation is; 0: the default pipeline. MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_columns = (
    SELECT IF(count(*) = 0,
              'ALTER TABLE pipeline_generation
                   ADD COLUMN coupon_id BIGINT NOT NULL DEFAULT 0,
                   ADD KEY pipeline_generation_by_coupon (coupon_id, number)',
              'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'pipeline_generation' AND column_name = 'coupon_id'
);
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;
