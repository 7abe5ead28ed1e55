-- ?1: [[digest in hexadecimal, coupon_id, terms], …]. WHERE separates the join from the conflict clause, as SQLite's
-- grammar requires.
INSERT INTO issue_terms (digest, coupon_id, terms)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each(?1) WHERE TRUE
    ON CONFLICT DO NOTHING
