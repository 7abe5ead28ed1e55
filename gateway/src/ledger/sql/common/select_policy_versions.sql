SELECT name, digest, world, contract, bytes, source, registered_at_ms
  FROM policy_version
 WHERE EXISTS (SELECT 1 FROM policy_component WHERE policy_component.digest = policy_version.digest)
 ORDER BY order_no DESC
