-- ?: [coupon_id, …]. STRAIGHT_JOIN and FORCE INDEX: outdated statistics must not turn the lookups into a scan.
SELECT shard.coupon_id, shard.shard_no, shard.remaining
  FROM JSON_TABLE(?, '$[*]' COLUMNS (coupon_id BIGINT PATH '$' ERROR ON ERROR)) AS requested
  STRAIGHT_JOIN coupon_issue_shard AS shard FORCE INDEX (PRIMARY)
    ON shard.coupon_id = requested.coupon_id
