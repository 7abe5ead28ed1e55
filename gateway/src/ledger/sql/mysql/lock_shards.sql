-- ?: [[coupon_id, shard_no], …] in ascending order. The join reads, and so locks, these rows only, in this order.
-- The subquery is there because MySQL rejects FOR UPDATE on a JSON_TABLE.
SELECT shard.coupon_id, shard.shard_no, shard.remaining
  FROM (SELECT coupon_id, shard_no
          FROM JSON_TABLE(?, '$[*]' COLUMNS (
                   coupon_id BIGINT PATH '$[0]' ERROR ON ERROR,
                   shard_no  BIGINT PATH '$[1]' ERROR ON ERROR
               )) AS list) AS requested
  STRAIGHT_JOIN coupon_issue_shard AS shard FORCE INDEX (PRIMARY)
    ON shard.coupon_id = requested.coupon_id AND shard.shard_no = requested.shard_no
   FOR UPDATE
