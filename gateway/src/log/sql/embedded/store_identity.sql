INSERT INTO log_identity (only_row, log_id) VALUES (1, ?1)
ON CONFLICT (only_row) DO UPDATE SET log_id = excluded.log_id
