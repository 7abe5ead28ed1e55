SELECT partition_no, from_offset, to_offset, reason, changed_at_ms
  FROM offset_change
 ORDER BY change_no DESC
 LIMIT ?
