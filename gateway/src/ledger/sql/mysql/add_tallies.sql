-- ?: [[coupon_id, partition_no, shard_no, granted, users, picked, sold_out, user_limit, invalid], …]
INSERT INTO outcome_tally (coupon_id, partition_no, shard_no, granted, users, picked, sold_out, user_limit, invalid)
SELECT coupon_id, partition_no, shard_no, granted, users, picked, sold_out, user_limit, invalid
  FROM JSON_TABLE(?, '$[*]' COLUMNS (
           coupon_id    BIGINT PATH '$[0]' ERROR ON ERROR,
           partition_no BIGINT PATH '$[1]' ERROR ON ERROR,
           shard_no     BIGINT PATH '$[2]' ERROR ON ERROR,
           granted      BIGINT PATH '$[3]' ERROR ON ERROR,
           users        BIGINT PATH '$[4]' ERROR ON ERROR,
           picked       BIGINT PATH '$[5]' ERROR ON ERROR,
           sold_out     BIGINT PATH '$[6]' ERROR ON ERROR,
           user_limit   BIGINT PATH '$[7]' ERROR ON ERROR,
           invalid      BIGINT PATH '$[8]' ERROR ON ERROR
       )) AS batch
    ON DUPLICATE KEY UPDATE granted    = outcome_tally.granted + batch.granted,
                            users      = outcome_tally.users + batch.users,
                            picked     = outcome_tally.picked + batch.picked,
                            sold_out   = outcome_tally.sold_out + batch.sold_out,
                            user_limit = outcome_tally.user_limit + batch.user_limit,
                            invalid    = outcome_tally.invalid + batch.invalid
