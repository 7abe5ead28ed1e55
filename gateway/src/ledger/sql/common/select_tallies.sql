SELECT shard_no, granted, users, picked, sold_out, user_limit, invalid FROM outcome_tally WHERE coupon_id = ?
