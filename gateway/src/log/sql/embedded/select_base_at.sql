-- The newest batch that begins at or before an offset, and the batch after it.
SELECT base_offset, records
  FROM record_batch
 WHERE partition_no = ?1
   AND base_offset >= coalesce((SELECT max(base_offset)
                                  FROM record_batch
                                 WHERE partition_no = ?1 AND base_offset <= ?2), ?2)
 ORDER BY base_offset
 LIMIT 2
