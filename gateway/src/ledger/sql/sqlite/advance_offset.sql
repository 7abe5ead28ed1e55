UPDATE partition_offset SET next_offset = ?4 WHERE partition_no = ?1 AND epoch = ?2 AND next_offset = ?3
