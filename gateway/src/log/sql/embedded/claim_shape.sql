-- The first start stores the number of partitions; later ones read it.
INSERT INTO log_shape (only_row, partitions) VALUES (1, ?1)
ON CONFLICT (only_row) DO UPDATE SET partitions = partitions
RETURNING partitions
