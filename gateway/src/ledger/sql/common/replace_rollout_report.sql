REPLACE INTO rollout_report (rollout_id, gateway, step_no, tallies) VALUES (?, ?, ?, ?)
