DELETE FROM pipeline_generation WHERE number <= ?
