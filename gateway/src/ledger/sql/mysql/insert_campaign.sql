INSERT INTO campaign (coupon_id, policy_id, total, shards, per_user_limit, state, opens_at_ms, closes_at_ms)
VALUES (?, ?, ?, ?, ?, 'OPEN', ?, ?)
