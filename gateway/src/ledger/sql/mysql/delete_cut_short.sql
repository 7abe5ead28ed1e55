-- Of a migration that did not end: nobody is at it, since the lock is ours.
DELETE FROM _sqlx_migrations WHERE success = FALSE
