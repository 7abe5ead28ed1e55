INSERT INTO policy_component (digest, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING
