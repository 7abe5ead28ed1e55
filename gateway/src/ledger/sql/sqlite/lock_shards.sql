-- ?2: [shard_no, …], or null for all of them
SELECT shard_no, remaining
  FROM coupon_issue_shard
 WHERE coupon_id = ?1
   AND (?2 IS NULL OR shard_no IN (SELECT value FROM json_each(?2)))
 ORDER BY shard_no
