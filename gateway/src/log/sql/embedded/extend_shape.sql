UPDATE log_shape SET partitions = ?1
