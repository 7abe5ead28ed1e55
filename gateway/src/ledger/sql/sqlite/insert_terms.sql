-- ?1: [[digest in hexadecimal, terms], …]. WHERE separates the join from the conflict clause, as SQLite's grammar requires.
INSERT INTO issue_terms (digest, terms)
SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?1) WHERE TRUE
    ON CONFLICT DO NOTHING
