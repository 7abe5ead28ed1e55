REPLACE INTO policy_version (name, digest, order_no, world, contract, bytes, source, registered_by, registered_at_ms)
SELECT ?, ?, newest, ?, ?, ?, ?, ?, ? FROM policy_order WHERE only_row = 1
