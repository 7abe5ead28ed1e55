SELECT coupon_id, policy_id, total, per_user_limit, state, opens_at_ms, closes_at_ms
  FROM campaign
 WHERE ?1 IS NULL OR coupon_id = ?1
 ORDER BY coupon_id
