UPDATE campaign SET deletion_began = 1 WHERE coupon_id = ? AND deletion_began = 0
