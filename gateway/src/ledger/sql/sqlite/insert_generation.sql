INSERT INTO pipeline_generation (number, pipeline, published_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING
