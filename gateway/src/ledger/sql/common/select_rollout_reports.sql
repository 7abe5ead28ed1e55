SELECT rollout_id, gateway, step_no, tallies FROM rollout_report WHERE rollout_id = ?
