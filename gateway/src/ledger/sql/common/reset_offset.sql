UPDATE partition_offset SET next_offset = ?, released_offset = ? WHERE partition_no = ?
