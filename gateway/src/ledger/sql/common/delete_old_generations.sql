-- MySQL reads the table that it deletes from only within a derived table.
DELETE FROM pipeline_generation
 WHERE coupon_id = ?
   AND number <= (SELECT number
                    FROM (SELECT number
                            FROM pipeline_generation
                           WHERE coupon_id = ?
                           ORDER BY number DESC
                           LIMIT 1 OFFSET ?) AS surplus)
