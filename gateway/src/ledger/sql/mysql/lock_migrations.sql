-- Per database, and held until the session ends. A wait without end would be -1, which MariaDB does not take.
SELECT get_lock(concat('sluice migrate ', left(sha2(database(), 256), 32)), 600) AS locked
