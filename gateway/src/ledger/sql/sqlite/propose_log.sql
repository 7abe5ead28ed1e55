INSERT INTO log_identity (only_row, log_id) VALUES (1, ?1) ON CONFLICT DO NOTHING
