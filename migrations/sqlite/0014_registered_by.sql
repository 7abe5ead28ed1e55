-- Who uploaded a version of a policy: the name of an admin token, or `local`. NULL: it came from a folder, or before this
-- was recorded.
ALTER TABLE policy_version ADD COLUMN registered_by TEXT NULL;
