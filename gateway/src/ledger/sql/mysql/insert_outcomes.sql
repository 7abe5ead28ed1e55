-- The code appends VALUES, one row per outcome.
INSERT INTO issue_outcome (request_id, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no, generation,
                           arm, fingerprint, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms_digest)
