-- The code appends VALUES and what to do about terms that another settlement has stored.
INSERT INTO issue_terms (digest, coupon_id, terms)
