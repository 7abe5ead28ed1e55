INSERT INTO partition_offset (partition_no, epoch, next_offset)
VALUES (?1, 1, 0)
ON CONFLICT (partition_no) DO UPDATE SET epoch = epoch + 1
RETURNING epoch, next_offset, released_offset
