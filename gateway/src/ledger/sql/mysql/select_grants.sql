-- The first ?: [user_id, …]. STRAIGHT_JOIN and FORCE INDEX: outdated statistics must not turn the lookups into a scan.
SELECT held.user_id, count(*) AS grants
  FROM JSON_TABLE(?, '$[*]' COLUMNS (user_id BIGINT PATH '$' ERROR ON ERROR)) AS requested
  STRAIGHT_JOIN issue_outcome AS held FORCE INDEX (one_grant)
    ON held.coupon_id = ? AND held.user_id = requested.user_id AND held.grant_no IS NOT NULL
 GROUP BY held.user_id
