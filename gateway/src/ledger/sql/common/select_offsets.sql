SELECT partition_no, next_offset FROM partition_offset
