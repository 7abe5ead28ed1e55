SELECT id, coupon_id, running, version, record FROM rollout WHERE id = ?
