-- The second ?: [[shard_no, remaining], …]
INSERT INTO coupon_issue_shard (coupon_id, shard_no, remaining)
SELECT ?, shard.shard_no, shard.remaining
  FROM JSON_TABLE(?, '$[*]' COLUMNS (
           shard_no  BIGINT          PATH '$[0]' ERROR ON ERROR,
           remaining BIGINT UNSIGNED PATH '$[1]' ERROR ON ERROR
       )) AS shard
