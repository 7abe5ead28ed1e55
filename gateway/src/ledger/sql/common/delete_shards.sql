DELETE FROM coupon_issue_shard WHERE coupon_id = ?
