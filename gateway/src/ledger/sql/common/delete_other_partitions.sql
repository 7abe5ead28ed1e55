DELETE FROM partition_offset WHERE partition_no < ? OR partition_no >= ?
