-- A replica, or a primary during a failover, accepts no writes.
SELECT cast(@@global.read_only AS SIGNED) AS read_only
