DELETE FROM admin_key WHERE used_at_ms < ? LIMIT 1000
