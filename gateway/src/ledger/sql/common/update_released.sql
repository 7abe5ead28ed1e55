UPDATE partition_offset SET released_offset = ? WHERE partition_no = ? AND epoch = ?
