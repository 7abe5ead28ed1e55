INSERT INTO offset_change (partition_no, from_offset, to_offset, reason, changed_at_ms) VALUES (?, ?, ?, ?, ?)
