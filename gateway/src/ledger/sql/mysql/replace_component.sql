-- Without a signature, the one that is stored stays: it is of the same bytes.
INSERT INTO policy_component (digest, bytes, signature) VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE bytes = VALUES(bytes), signature = COALESCE(VALUES(signature), signature)
