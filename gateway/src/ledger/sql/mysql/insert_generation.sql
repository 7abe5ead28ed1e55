-- Of the numbers below the newest one, some were deleted. They are taken all the same.
INSERT INTO pipeline_generation (number, coupon_id, pipeline, published_at_ms)
SELECT ?, ?, ?, ?
  FROM DUAL
 WHERE NOT EXISTS (SELECT 1 FROM pipeline_generation WHERE number >= ?)
