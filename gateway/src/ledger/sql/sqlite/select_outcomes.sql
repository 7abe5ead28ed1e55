-- The next page in the order of the key on coupon, user and grant number, which ends with the request id. First what is
-- left of the last user: rejections, which have no grant number, then grants.
SELECT *
  FROM (SELECT request_id, user_id, grant_no, status, shard_no, picked_shard_no, generation, arm,
               partition_no, log_offset, arrived_at_ms, settled_at_ms
          FROM issue_outcome
         WHERE coupon_id = ? AND user_id = ? AND grant_no IS NULL AND request_id > ?
         ORDER BY request_id
         LIMIT ?) AS rejections
 UNION ALL
SELECT *
  FROM (SELECT request_id, user_id, grant_no, status, shard_no, picked_shard_no, generation, arm,
               partition_no, log_offset, arrived_at_ms, settled_at_ms
          FROM issue_outcome
         WHERE coupon_id = ? AND user_id = ? AND grant_no > ?
         ORDER BY grant_no
         LIMIT ?) AS grants
 UNION ALL
SELECT *
  FROM (SELECT request_id, user_id, grant_no, status, shard_no, picked_shard_no, generation, arm,
               partition_no, log_offset, arrived_at_ms, settled_at_ms
          FROM issue_outcome
         WHERE coupon_id = ? AND user_id > ?
         ORDER BY user_id, grant_no, request_id
         LIMIT ?) AS others
 ORDER BY user_id, grant_no, request_id
 LIMIT ?
