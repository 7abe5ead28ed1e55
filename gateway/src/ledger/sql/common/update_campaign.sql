UPDATE campaign
   SET state = ?, total = ?, shards = ?, closed_at_ms = coalesce(closed_at_ms, ?)
 WHERE coupon_id = ?
