SELECT log_id, seen_at_ms FROM log_identity
