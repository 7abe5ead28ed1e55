DELETE FROM log_identity
