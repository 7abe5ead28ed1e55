DELETE FROM admin_key
 WHERE key_hash IN (SELECT key_hash FROM admin_key WHERE used_at_ms < ? LIMIT 1000)
