SELECT coupon_id, policy_id, total, per_user_limit, state, opens_at_ms, closes_at_ms
  FROM campaign
 WHERE coupon_id = ?
