-- ?: [request_id in hexadecimal, …]. STRAIGHT_JOIN and FORCE INDEX: outdated statistics must not turn the lookups into a
-- scan.
SELECT outcome.request_id, coalesce(outcome.terms, known.terms) AS terms
  FROM JSON_TABLE(?, '$[*]' COLUMNS (request_id CHAR(32) PATH '$' ERROR ON ERROR)) AS requested
  STRAIGHT_JOIN issue_outcome AS outcome FORCE INDEX (PRIMARY)
    ON outcome.request_id = unhex(requested.request_id)
  LEFT JOIN issue_terms AS known FORCE INDEX (PRIMARY)
    ON known.digest = outcome.terms_digest
 WHERE outcome.terms IS NOT NULL OR known.terms IS NOT NULL
