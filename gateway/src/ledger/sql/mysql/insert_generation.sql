INSERT INTO pipeline_generation (number, pipeline, published_at_ms) VALUES (?, ?, ?)
