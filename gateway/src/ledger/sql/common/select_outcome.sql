SELECT status, coupon_id, grant_no, shard_no, arm, partition_no, log_offset, settled_at_ms
  FROM issue_outcome
 WHERE request_id = ?
