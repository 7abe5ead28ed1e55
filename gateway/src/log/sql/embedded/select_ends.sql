SELECT partition_no, max(base_offset + records) AS end_offset FROM record_batch GROUP BY partition_no
