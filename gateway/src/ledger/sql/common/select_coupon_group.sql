-- Only the first group has campaigns of coupons that were never assigned: it was alone when they were created.
SELECT group_no FROM coupon_group WHERE coupon_id = ?
 UNION ALL
SELECT 0 AS group_no FROM campaign WHERE coupon_id = ?
 LIMIT 1
