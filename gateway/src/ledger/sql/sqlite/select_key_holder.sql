SELECT request_id FROM issue_outcome WHERE fingerprint = ? LIMIT 1
