-- ?: [[coupon_id, shard_no, records], …]. A shard that has less is not touched.
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
           coupon_id BIGINT PATH '$[0]' ERROR ON ERROR,
           shard_no  BIGINT PATH '$[1]' ERROR ON ERROR,
           records   BIGINT PATH '$[2]' ERROR ON ERROR
       )) AS take
  STRAIGHT_JOIN coupon_issue_shard AS shard FORCE INDEX (PRIMARY)
    ON shard.coupon_id = take.coupon_id AND shard.shard_no = take.shard_no
   SET shard.remaining = shard.remaining - take.records
 WHERE shard.remaining >= take.records
