SELECT status, shard_no, picked_shard_no, count(*) AS outcomes
  FROM issue_outcome
 WHERE coupon_id = ?1
 GROUP BY status, shard_no, picked_shard_no
