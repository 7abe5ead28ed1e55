-- ?1: [coupon_id, …]
SELECT coupon_id, shard_no, remaining
  FROM coupon_issue_shard
 WHERE coupon_id IN (SELECT value FROM json_each(?1))
