-- The coupon whose own pipeline a generation is; 0: the default pipeline.
ALTER TABLE pipeline_generation ADD COLUMN coupon_id BIGINT NOT NULL DEFAULT 0;

CREATE INDEX pipeline_generation_by_coupon ON pipeline_generation (coupon_id, number);
