SELECT epoch, next_offset, released_offset FROM partition_offset WHERE partition_no = ?
