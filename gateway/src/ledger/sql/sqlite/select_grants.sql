-- ?1: [[coupon_id, user_id], …]. The highest number, because a count would give a number again after rows were deleted.
SELECT held.coupon_id, held.user_id, max(held.grant_no) AS grant_no
  FROM json_each(?1) AS requested
  CROSS JOIN issue_outcome AS held
    ON held.coupon_id = requested.value ->> 0 AND held.user_id = requested.value ->> 1 AND held.grant_no IS NOT NULL
 GROUP BY held.coupon_id, held.user_id
