-- ?1: [[coupon_id, shard_no], …]; ?2: [coupon_id, …], of which all shards are read.
SELECT shard.coupon_id, shard.shard_no, shard.remaining
  FROM json_each(?1) AS requested
  CROSS JOIN coupon_issue_shard AS shard
    ON shard.coupon_id = requested.value ->> 0 AND shard.shard_no = requested.value ->> 1
 UNION ALL
SELECT shard.coupon_id, shard.shard_no, shard.remaining
  FROM json_each(?2) AS requested
  CROSS JOIN coupon_issue_shard AS shard
    ON shard.coupon_id = requested.value
