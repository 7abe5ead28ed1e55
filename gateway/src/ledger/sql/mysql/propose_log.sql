INSERT INTO log_identity (only_row, log_id) VALUES (1, ?) ON DUPLICATE KEY UPDATE only_row = only_row
