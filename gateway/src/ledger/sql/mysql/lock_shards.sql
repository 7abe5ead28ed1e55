-- The first ?: [shard_no, …] in ascending order. The join reads, and so locks, in that order and no other row.
-- MySQL takes no FOR UPDATE on a JSON_TABLE, but on a subquery of it.
SELECT shard.shard_no, shard.remaining
  FROM (SELECT shard_no FROM JSON_TABLE(?, '$[*]' COLUMNS (shard_no BIGINT PATH '$' ERROR ON ERROR)) AS list) AS asked
  STRAIGHT_JOIN coupon_issue_shard AS shard FORCE INDEX (PRIMARY)
    ON shard.coupon_id = ? AND shard.shard_no = asked.shard_no
   FOR UPDATE
