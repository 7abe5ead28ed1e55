-- Per database, and held until the session ends. A wait without end would be -1, which MariaDB does not take.
SELECT get_lock(concat('sluice migrate ', md5(database())), 600) AS locked
