-- What each partition has settled of each coupon and shard, so that an audit need not read the outcomes. Only the
-- settlement of the partition writes its rows. shard_no is the shard that gave the coupon in granted and users, and the
-- picked shard in the other columns. users counts first grants: each user has exactly one.
CREATE TABLE outcome_tally (
    coupon_id    BIGINT NOT NULL,
    partition_no INT    NOT NULL,
    shard_no     INT    NOT NULL,
    granted      BIGINT NOT NULL,
    users        BIGINT NOT NULL,
    picked       BIGINT NOT NULL,
    sold_out     BIGINT NOT NULL,
    user_limit   BIGINT NOT NULL,
    invalid      BIGINT NOT NULL,
    PRIMARY KEY (coupon_id, partition_no, shard_no)
) WITHOUT ROWID;

INSERT INTO outcome_tally (coupon_id, partition_no, shard_no, granted, users, picked, sold_out, user_limit, invalid)
SELECT coupon_id, partition_no, shard_no,
       sum(granted), sum(users), sum(picked), sum(sold_out), sum(user_limit), sum(invalid)
  FROM (SELECT coupon_id, partition_no, shard_no, count(*) AS granted, sum(grant_no = 1) AS users,
               0 AS picked, 0 AS sold_out, 0 AS user_limit, 0 AS invalid
          FROM issue_outcome
         WHERE coupon_id IS NOT NULL AND shard_no IS NOT NULL
         GROUP BY coupon_id, partition_no, shard_no
         UNION ALL
        SELECT coupon_id, partition_no, picked_shard_no, 0, 0,
               count(*), sum(status = 'SOLD_OUT'), sum(status = 'USER_LIMIT'), sum(status = 'INVALID')
          FROM issue_outcome
         WHERE coupon_id IS NOT NULL AND picked_shard_no IS NOT NULL
         GROUP BY coupon_id, partition_no, picked_shard_no) AS counted
 GROUP BY coupon_id, partition_no, shard_no;

-- Each distinct set of terms once; digest is the start of its SHA-256. An outcome refers to its terms with terms_digest.
-- Outcomes written before hold them in terms.
CREATE TABLE issue_terms (
    digest BLOB NOT NULL PRIMARY KEY,
    terms  TEXT NOT NULL
) WITHOUT ROWID;

ALTER TABLE issue_outcome ADD COLUMN terms_digest BLOB NULL;
