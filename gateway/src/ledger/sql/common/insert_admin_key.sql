INSERT INTO admin_key (key_hash, used_for, used_at_ms) VALUES (?, ?, ?)
