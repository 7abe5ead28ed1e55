-- The newest batch of a partition stays: the next batch continues from its end offset.
DELETE FROM record_batch
 WHERE partition_no = ?1
   AND base_offset + records <= ?2
   AND appended_at_ms < ?3
   AND base_offset < (SELECT max(base_offset) FROM record_batch WHERE partition_no = ?1)
