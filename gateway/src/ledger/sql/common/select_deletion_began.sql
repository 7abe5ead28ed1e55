SELECT deletion_began FROM campaign WHERE coupon_id = ?
