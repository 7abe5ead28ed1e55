-- ?1: [request_id in hexadecimal, …]
SELECT outcome.request_id, coalesce(outcome.terms, known.terms) AS terms
  FROM issue_outcome AS outcome
  LEFT JOIN issue_terms AS known ON known.digest = outcome.terms_digest
 WHERE outcome.request_id IN (SELECT unhex(value) FROM json_each(?1))
   AND (outcome.terms IS NOT NULL OR known.terms IS NOT NULL)
