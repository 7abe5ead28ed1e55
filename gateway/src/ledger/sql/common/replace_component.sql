REPLACE INTO policy_component (digest, bytes) VALUES (?, ?)
