DELETE FROM rollout_report WHERE NOT EXISTS (SELECT 1 FROM rollout WHERE rollout.id = rollout_report.rollout_id)
