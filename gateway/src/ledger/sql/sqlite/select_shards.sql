SELECT coupon_id, shard_no, remaining
  FROM coupon_issue_shard
 WHERE ?1 IS NULL OR coupon_id = ?1
 ORDER BY coupon_id, shard_no
