SELECT number, pipeline, published_at_ms FROM pipeline_generation ORDER BY number DESC LIMIT ?
