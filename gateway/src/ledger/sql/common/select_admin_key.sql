SELECT used_for FROM admin_key WHERE key_hash = ?
