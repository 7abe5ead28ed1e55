-- ?: [request_id in hexadecimal, …] in ascending order, so that two processes lock the rows in one order. STRAIGHT_JOIN
-- and FORCE INDEX: outdated statistics must not turn the lookups into a scan.
DELETE outcome
  FROM JSON_TABLE(?, '$[*]' COLUMNS (request_id CHAR(32) PATH '$' ERROR ON ERROR)) AS requested
  STRAIGHT_JOIN issue_outcome AS outcome FORCE INDEX (PRIMARY)
    ON outcome.request_id = unhex(requested.request_id)
