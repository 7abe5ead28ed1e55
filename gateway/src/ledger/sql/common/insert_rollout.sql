INSERT INTO rollout (id, coupon_id, running, version, record) VALUES (?, ?, ?, ?, ?)
