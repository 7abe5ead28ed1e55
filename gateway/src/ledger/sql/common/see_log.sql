UPDATE log_identity SET seen_at_ms = ? WHERE log_id = ?
