-- ?1: [request_id in hexadecimal, …]
SELECT request_id FROM issue_outcome
 WHERE request_id IN (SELECT unhex(value) FROM json_each(?1)) AND status <> 'ISSUED'
