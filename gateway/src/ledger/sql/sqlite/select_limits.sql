-- ?1: [coupon_id, …]
SELECT coupon_id, per_user_limit FROM campaign WHERE coupon_id IN (SELECT value FROM json_each(?1))
