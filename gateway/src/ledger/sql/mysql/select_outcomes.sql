-- The next page in the order of the key on coupon, user and grant number. InnoDB appends the request id to this key, so
-- rows with equal values are read in its order; the server does not know that, and would sort the whole campaign if the
-- last SELECT asked for it. First what is left of the last user: rejections, which have no grant number, then grants. All
-- rejections of one user are sorted for each page: only their ids, which the key holds.
SELECT rejected.request_id, user_id, grant_no, status, shard_no, picked_shard_no, generation, arm,
       partition_no, log_offset, arrived_at_ms, settled_at_ms
  FROM (SELECT request_id
          FROM issue_outcome FORCE INDEX (one_grant)
         WHERE coupon_id = ? AND user_id = ? AND grant_no IS NULL AND request_id > ?
         ORDER BY request_id
         LIMIT ?) AS rejections
  STRAIGHT_JOIN issue_outcome AS rejected FORCE INDEX (PRIMARY)
    ON rejected.request_id = rejections.request_id
 UNION ALL
SELECT *
  FROM (SELECT request_id, user_id, grant_no, status, shard_no, picked_shard_no, generation, arm,
               partition_no, log_offset, arrived_at_ms, settled_at_ms
          FROM issue_outcome FORCE INDEX (one_grant)
         WHERE coupon_id = ? AND user_id = ? AND grant_no > ?
         ORDER BY grant_no
         LIMIT ?) AS grants
 UNION ALL
SELECT *
  FROM (SELECT request_id, user_id, grant_no, status, shard_no, picked_shard_no, generation, arm,
               partition_no, log_offset, arrived_at_ms, settled_at_ms
          FROM issue_outcome FORCE INDEX (one_grant)
         WHERE coupon_id = ? AND user_id > ?
         ORDER BY user_id, grant_no
         LIMIT ?) AS others
 ORDER BY user_id, grant_no, request_id
 LIMIT ?
