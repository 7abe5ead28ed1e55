SELECT count(*) AS users, cast(coalesce(sum(granted > ?), 0) AS SIGNED) AS users_over_limit
  FROM (SELECT count(*) AS granted
          FROM issue_outcome
         WHERE coupon_id = ? AND grant_no IS NOT NULL
         GROUP BY user_id) AS holders
