UPDATE pipeline_generation SET pipeline = '' WHERE coupon_id = ?
