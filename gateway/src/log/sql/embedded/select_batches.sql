SELECT base_offset, payload
  FROM record_batch
 WHERE partition_no = ?1
   AND base_offset >= coalesce((SELECT max(base_offset)
                                  FROM record_batch
                                 WHERE partition_no = ?1 AND base_offset <= ?2), ?2)
 ORDER BY base_offset
 LIMIT ?3
