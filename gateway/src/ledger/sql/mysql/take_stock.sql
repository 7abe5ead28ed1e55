-- ?: [[coupon_id, shard_no, records], …]. A shard with less stock is not updated, which the row count reveals.
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
           coupon_id BIGINT PATH '$[0]' ERROR ON ERROR,
           shard_no  BIGINT PATH '$[1]' ERROR ON ERROR,
           records   BIGINT PATH '$[2]' ERROR ON ERROR
       )) AS decrement
  STRAIGHT_JOIN coupon_issue_shard AS shard FORCE INDEX (PRIMARY)
    ON shard.coupon_id = decrement.coupon_id AND shard.shard_no = decrement.shard_no
   SET shard.remaining = shard.remaining - decrement.records
 WHERE shard.remaining >= decrement.records
