-- ?: [[request_id in hexadecimal, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no, generation,
--      fingerprint, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms], …]
-- MariaDB cuts what does not fit a column of JSON_TABLE without a word. Those here are wider than those
-- of issue_outcome, which refuses.
INSERT INTO issue_outcome (request_id, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no, generation,
                           fingerprint, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms)
SELECT unhex(outcome.request_id), outcome.status, outcome.coupon_id, outcome.user_id, outcome.grant_no,
       outcome.shard_no, outcome.picked_shard_no, outcome.generation, outcome.fingerprint, outcome.partition_no,
       outcome.log_offset, outcome.arrived_at_ms, outcome.settled_at_ms, outcome.terms
  FROM JSON_TABLE(?, '$[*]' COLUMNS (
           request_id      CHAR(32)        PATH '$[0]' ERROR ON ERROR,
           status          VARCHAR(32)     PATH '$[1]' ERROR ON ERROR,
           coupon_id       BIGINT          PATH '$[2]' ERROR ON ERROR,
           user_id         BIGINT          PATH '$[3]' ERROR ON ERROR,
           grant_no        BIGINT          PATH '$[4]' ERROR ON ERROR,
           shard_no        BIGINT          PATH '$[5]' ERROR ON ERROR,
           picked_shard_no BIGINT          PATH '$[6]' ERROR ON ERROR,
           generation      BIGINT UNSIGNED PATH '$[7]' ERROR ON ERROR,
           fingerprint     BIGINT          PATH '$[8]' ERROR ON ERROR,
           partition_no    BIGINT          PATH '$[9]' ERROR ON ERROR,
           log_offset      BIGINT UNSIGNED PATH '$[10]' ERROR ON ERROR,
           arrived_at_ms   BIGINT          PATH '$[11]' ERROR ON ERROR,
           settled_at_ms   BIGINT          PATH '$[12]' ERROR ON ERROR,
           terms           LONGTEXT        PATH '$[13]' ERROR ON ERROR
       )) AS outcome
