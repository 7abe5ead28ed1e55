SELECT number, coupon_id, pipeline, published_at_ms
  FROM pipeline_generation
 WHERE number > ?
   AND NOT EXISTS (SELECT 1
                     FROM pipeline_generation AS newer
                    WHERE newer.coupon_id = pipeline_generation.coupon_id
                      AND newer.number > pipeline_generation.number)
 ORDER BY number
 LIMIT ?
