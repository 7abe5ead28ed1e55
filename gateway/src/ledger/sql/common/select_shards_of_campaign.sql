SELECT coupon_id, shard_no, remaining
  FROM coupon_issue_shard
 WHERE coupon_id = ?
 ORDER BY shard_no
