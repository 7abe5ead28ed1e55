-- ?: [coupon_id, …] in ascending order: the shared locks are taken in this order.
-- The subquery is there because MySQL rejects a lock on a JSON_TABLE.
SELECT campaign.coupon_id, campaign.per_user_limit
  FROM (SELECT coupon_id
          FROM JSON_TABLE(?, '$[*]' COLUMNS (coupon_id BIGINT PATH '$' ERROR ON ERROR)) AS list) AS requested
  STRAIGHT_JOIN campaign FORCE INDEX (PRIMARY)
    ON campaign.coupon_id = requested.coupon_id
  LOCK IN SHARE MODE
