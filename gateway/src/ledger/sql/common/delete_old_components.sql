-- A pipeline names the digests of its components.
DELETE FROM policy_component
 WHERE NOT EXISTS (SELECT 1 FROM pipeline_generation WHERE instr(pipeline, digest) > 0)
