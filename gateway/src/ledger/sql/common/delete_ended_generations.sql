-- The row with the newest number stays, and is deleted when the next pipeline ends.
-- MySQL reads the table that it deletes from only within a derived table.
DELETE FROM pipeline_generation
 WHERE (coupon_id = ? OR pipeline = '')
   AND number < (SELECT newest FROM (SELECT max(number) AS newest FROM pipeline_generation) AS newest_of_all)
