SELECT id, coupon_id, running, version, record FROM rollout ORDER BY id DESC LIMIT ?
