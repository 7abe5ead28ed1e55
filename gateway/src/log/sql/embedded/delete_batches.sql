DELETE FROM record_batch WHERE partition_no = ?1 AND base_offset < ?2
