SELECT name, policy_version.digest, world, contract, policy_version.bytes, signature, source,
       registered_by, registered_at_ms
  FROM policy_version
  JOIN policy_component ON policy_component.digest = policy_version.digest
 ORDER BY order_no DESC
