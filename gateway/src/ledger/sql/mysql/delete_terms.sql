-- In ascending order, so that two processes lock the rows in one order.
DELETE FROM issue_terms WHERE coupon_id = ? ORDER BY digest LIMIT ?
