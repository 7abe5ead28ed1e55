UPDATE campaign SET state = ?2, total = ?3, shards = ?4 WHERE coupon_id = ?1
