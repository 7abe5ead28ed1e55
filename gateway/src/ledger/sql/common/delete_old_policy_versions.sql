-- MySQL reads the table that it deletes from only within a derived table.
DELETE FROM policy_version
 WHERE order_no <= (SELECT order_no
                      FROM (SELECT order_no FROM policy_version ORDER BY order_no DESC LIMIT 1 OFFSET ?) AS surplus)
   AND NOT EXISTS (SELECT 1 FROM pipeline_generation WHERE instr(pipeline, digest) > 0)
   AND NOT EXISTS (SELECT 1 FROM rollout WHERE running = 1 AND instr(record, digest) > 0)
