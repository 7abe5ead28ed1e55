-- ?2: [[shard_no, remaining], …]
INSERT INTO coupon_issue_shard (coupon_id, shard_no, remaining)
SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)
