-- The arm of the rollout that decided about the request: 0 the active one, 1 the canary.
ALTER TABLE issue_outcome ADD COLUMN arm INT NOT NULL DEFAULT 0;
