-- ?1: [[request_id in hexadecimal, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no, generation,
--       arm, fingerprint, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms_digest in hexadecimal], …]
-- OR FAIL: a rejected row rolls the whole transaction back, so SQLite need not journal the statement.
INSERT OR FAIL INTO issue_outcome (request_id, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no, generation,
                           arm, fingerprint, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms_digest)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, unhex(value ->> 14)
  FROM jsonb_each(?1)
