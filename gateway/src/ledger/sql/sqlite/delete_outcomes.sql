-- ?1: [request_id in hexadecimal, …]
DELETE FROM issue_outcome WHERE request_id IN (SELECT unhex(value) FROM json_each(?1))
