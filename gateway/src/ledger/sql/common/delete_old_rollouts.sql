DELETE FROM rollout WHERE id <= ? AND running IS NULL
