-- ?1: [[coupon_id, shard_no, records], …]. A shard with less stock is not updated, which the row count reveals.
UPDATE coupon_issue_shard AS shard
   SET remaining = remaining - (decrement.value ->> 2)
  FROM json_each(?1) AS decrement
 WHERE shard.coupon_id = decrement.value ->> 0
   AND shard.shard_no = decrement.value ->> 1
   AND shard.remaining >= decrement.value ->> 2
