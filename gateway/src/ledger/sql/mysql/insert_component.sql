INSERT INTO policy_component (digest, bytes) VALUES (?, ?) ON DUPLICATE KEY UPDATE digest = digest
