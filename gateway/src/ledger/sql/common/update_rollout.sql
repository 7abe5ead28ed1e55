UPDATE rollout SET running = ?, version = ?, record = ? WHERE id = ? AND version = ?
