UPDATE campaign SET outcomes_deleted = ? WHERE coupon_id = ? AND outcomes_deleted IN ('NONE', ?)
