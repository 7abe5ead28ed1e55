-- A replica takes no writes.
SELECT cast(@@global.read_only AS SIGNED) AS read_only
