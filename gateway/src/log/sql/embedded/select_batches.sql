-- The batch that holds the record at ?2, and those that begin before ?3.
SELECT base_offset, payload
  FROM record_batch
 WHERE partition_no = ?1
   AND base_offset >= coalesce((SELECT max(base_offset)
                                  FROM record_batch
                                 WHERE partition_no = ?1 AND base_offset <= ?2), ?2)
   AND base_offset < ?3
 ORDER BY base_offset
