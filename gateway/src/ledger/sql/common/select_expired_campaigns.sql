-- The first ?: what was deleted so far.
SELECT coupon_id
  FROM campaign
 WHERE outcomes_deleted IN ('NONE', ?) AND coalesce(closed_at_ms, closes_at_ms) < ?
 ORDER BY coupon_id
 LIMIT ?
