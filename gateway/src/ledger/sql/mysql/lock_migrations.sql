-- ?: the database. One lock for each, held until the session ends. The timeout is in seconds: MariaDB does not accept
-- -1 for none.
SELECT get_lock(concat('sluice migrate ', left(sha2(?, 256), 32)), 600)
