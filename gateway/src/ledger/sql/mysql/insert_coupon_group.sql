INSERT INTO coupon_group (coupon_id, group_no) VALUES (?, coalesce((SELECT 0 FROM campaign WHERE coupon_id = ?), ?))
    ON DUPLICATE KEY UPDATE group_no = coupon_group.group_no
