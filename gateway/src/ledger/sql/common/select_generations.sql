SELECT number, coupon_id, pipeline, published_at_ms
  FROM pipeline_generation
 WHERE coupon_id = ?
 ORDER BY number DESC
 LIMIT ?
