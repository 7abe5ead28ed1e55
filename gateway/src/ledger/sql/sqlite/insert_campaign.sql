INSERT INTO campaign (coupon_id, policy_id, total, shards, per_user_limit, state, opens_at_ms, closes_at_ms)
VALUES (?1, ?2, ?3, ?4, ?5, 'OPEN', ?6, ?7)
ON CONFLICT DO NOTHING
