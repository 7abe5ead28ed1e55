SELECT coupon_id, shard_no, remaining
  FROM coupon_issue_shard
 ORDER BY coupon_id, shard_no
