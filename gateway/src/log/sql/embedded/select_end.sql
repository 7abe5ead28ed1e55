SELECT base_offset + records AS end_offset
  FROM record_batch
 WHERE partition_no = ?1
 ORDER BY base_offset DESC
 LIMIT 1
