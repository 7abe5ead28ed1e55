-- A pipeline and a rollout name the digests of their components.
DELETE FROM policy_component
 WHERE NOT EXISTS (SELECT 1 FROM policy_version WHERE policy_version.digest = policy_component.digest)
   AND NOT EXISTS (SELECT 1 FROM pipeline_generation WHERE instr(pipeline, policy_component.digest) > 0)
   AND NOT EXISTS (SELECT 1 FROM rollout WHERE running = 1 AND instr(record, policy_component.digest) > 0)
