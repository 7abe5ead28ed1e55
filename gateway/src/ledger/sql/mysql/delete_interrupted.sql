-- Every migration can be run again, and the lock excludes that another process is still running one.
DELETE FROM _sqlx_migrations WHERE success = FALSE
