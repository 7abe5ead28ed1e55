SELECT request_id FROM issue_outcome WHERE user_id = ? AND fingerprint = ? LIMIT 1
