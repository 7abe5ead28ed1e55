SELECT id, coupon_id, running, version, record FROM rollout WHERE running = 1 ORDER BY id
