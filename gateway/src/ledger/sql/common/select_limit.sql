SELECT per_user_limit FROM campaign WHERE coupon_id = ?
