-- The counters keep what they counted for rejected requests among the missing records.
UPDATE partition_offset SET next_offset = ?, released_offset = ? WHERE partition_no = ? AND next_offset = ?
