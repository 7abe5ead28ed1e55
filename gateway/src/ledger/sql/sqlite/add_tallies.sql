-- ?1: [[coupon_id, partition_no, shard_no, granted, users, picked, sold_out, user_limit, invalid], …]
-- WHERE separates the join from the conflict clause, as SQLite's grammar requires.
INSERT INTO outcome_tally (coupon_id, partition_no, shard_no, granted, users, picked, sold_out, user_limit, invalid)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8
  FROM json_each(?1)
 WHERE TRUE
    ON CONFLICT DO UPDATE SET granted    = granted + excluded.granted,
                              users      = users + excluded.users,
                              picked     = picked + excluded.picked,
                              sold_out   = sold_out + excluded.sold_out,
                              user_limit = user_limit + excluded.user_limit,
                              invalid    = invalid + excluded.invalid
