-- sql_mode: a value that does not fit its column is an error, never truncated; so is a missing storage engine.
-- innodb_lock_wait_timeout, in seconds: after it the batch is retried, because the lock's holder probably hangs.
-- wait_timeout, in seconds: sessions idle in a transaction are closed and rolled back. The default of 8 hours would
-- let a hanging gateway block its partitions that long.
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO',
    SESSION innodb_lock_wait_timeout = 10,
    SESSION wait_timeout = 15
