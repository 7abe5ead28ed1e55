SELECT epoch, next_offset FROM partition_offset WHERE partition_no = ?
