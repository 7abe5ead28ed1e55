-- ?: [request_id in hexadecimal, …]. STRAIGHT_JOIN and FORCE INDEX: outdated statistics must not turn the lookups
-- into a scan.
SELECT settled.request_id
  FROM JSON_TABLE(?, '$[*]' COLUMNS (request_id CHAR(32) PATH '$' ERROR ON ERROR)) AS requested
  STRAIGHT_JOIN issue_outcome AS settled FORCE INDEX (PRIMARY)
    ON settled.request_id = unhex(requested.request_id)
 WHERE settled.status <> 'ISSUED'
