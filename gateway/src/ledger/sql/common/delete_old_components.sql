-- A pipeline names the digests of its components.
DELETE FROM policy_component
 WHERE NOT EXISTS (SELECT 1 FROM policy_version WHERE policy_version.digest = policy_component.digest)
   AND NOT EXISTS (SELECT 1 FROM pipeline_generation WHERE instr(pipeline, policy_component.digest) > 0)
