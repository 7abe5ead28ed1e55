-- ?1: the request; ?2: the fingerprint of its key.
SELECT request_id, status, coupon_id, grant_no, shard_no, arm, partition_no, log_offset, settled_at_ms
  FROM issue_outcome
 WHERE request_id = ?1 OR fingerprint = ?2
 ORDER BY request_id = ?1 DESC
 LIMIT 1
