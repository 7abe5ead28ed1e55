UPDATE campaign SET state = ?, total = ?, shards = ? WHERE coupon_id = ?
