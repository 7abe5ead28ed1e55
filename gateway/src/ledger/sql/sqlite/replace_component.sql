-- Without a signature, the one that is stored stays: it is of the same bytes.
INSERT INTO policy_component (digest, bytes, signature) VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET bytes = excluded.bytes, signature = COALESCE(excluded.signature, signature)
