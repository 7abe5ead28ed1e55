-- Writes a page although nothing changes, so it fails while an append would fail.
UPDATE log_shape SET partitions = partitions
