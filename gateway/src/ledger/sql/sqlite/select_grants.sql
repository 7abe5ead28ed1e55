-- ?2: [user_id, …]
SELECT user_id, count(*) AS grants
  FROM issue_outcome
 WHERE coupon_id = ?1
   AND user_id IN (SELECT value FROM json_each(?2))
   AND grant_no IS NOT NULL
 GROUP BY user_id
