INSERT INTO partition_offset (partition_no, epoch, next_offset)
VALUES (?, 1, 0)
ON DUPLICATE KEY UPDATE epoch = epoch + 1
