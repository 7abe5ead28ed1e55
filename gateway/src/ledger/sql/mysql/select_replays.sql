-- ?: [request_id in hexadecimal, …]. STRAIGHT_JOIN: each is looked up, however few rows the statistics believe in.
SELECT known.request_id
  FROM JSON_TABLE(?, '$[*]' COLUMNS (request_id CHAR(32) PATH '$' ERROR ON ERROR)) AS asked
  STRAIGHT_JOIN issue_outcome AS known FORCE INDEX (PRIMARY)
    ON known.request_id = unhex(asked.request_id)
