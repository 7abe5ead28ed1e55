-- A partition that stays where it is keeps the requests that are not released yet.
UPDATE partition_offset
   SET released_offset = CASE WHEN next_offset = ? THEN released_offset ELSE ? END, next_offset = ?
 WHERE partition_no = ?
