INSERT INTO coupon_group (coupon_id, group_no)
SELECT ?, coalesce((SELECT 0 FROM campaign WHERE coupon_id = ?), ?)
 WHERE true
    ON CONFLICT DO NOTHING
