SELECT base_offset, base_offset + records AS end_offset, appended_at_ms
  FROM record_batch
 WHERE partition_no = ?1
 ORDER BY base_offset
 LIMIT ?2
