-- ?: [[coupon_id, user_id], …]. STRAIGHT_JOIN and FORCE INDEX: outdated statistics must not turn the lookups into a
-- scan. The highest number, because a count would give a number again after rows were deleted.
SELECT held.coupon_id, held.user_id, max(held.grant_no) AS grant_no
  FROM JSON_TABLE(?, '$[*]' COLUMNS (
           coupon_id BIGINT PATH '$[0]' ERROR ON ERROR,
           user_id   BIGINT PATH '$[1]' ERROR ON ERROR
       )) AS requested
  STRAIGHT_JOIN issue_outcome AS held FORCE INDEX (one_grant)
    ON held.coupon_id = requested.coupon_id AND held.user_id = requested.user_id AND held.grant_no IS NOT NULL
 GROUP BY held.coupon_id, held.user_id
