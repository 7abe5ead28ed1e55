-- The campaign whose grants refer to the terms: they are deleted with its outcomes. digest is the start of a SHA-256 of
-- both. NULL: an earlier version wrote the row, whose digest is of the terms alone, and several campaigns may share it.
ALTER TABLE issue_terms ADD COLUMN coupon_id BIGINT NULL;

CREATE INDEX issue_terms_by_coupon ON issue_terms (coupon_id);
