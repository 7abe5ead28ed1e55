-- Strict: a value that does not fit is refused, never cut. The name of an engine is taken at its word.
-- A lock that is not had within ten seconds is in the hands of somebody who hangs; the batch is tried again.
-- Who hangs within a transaction is rolled back after so long, or others would wait for its locks for hours.
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO',
    SESSION innodb_lock_wait_timeout = 10,
    SESSION wait_timeout = 15
