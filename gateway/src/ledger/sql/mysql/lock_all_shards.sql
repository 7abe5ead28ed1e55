SELECT coupon_id, shard_no, remaining
  FROM coupon_issue_shard FORCE INDEX (PRIMARY)
 WHERE coupon_id = ?
 ORDER BY shard_no
   FOR UPDATE
