INSERT INTO dead_letter (partition_no, log_offset, reason, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING
