UPDATE coupon_issue_shard
   SET remaining = remaining - ?3
 WHERE coupon_id = ?1 AND shard_no = ?2 AND remaining >= ?3
