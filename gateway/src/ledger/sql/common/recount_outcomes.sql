SELECT status, shard_no, picked_shard_no, count(*) AS outcomes
  FROM issue_outcome
 WHERE coupon_id = ?
 GROUP BY status, shard_no, picked_shard_no
