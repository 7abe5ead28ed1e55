-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- What each partition has settled of each coupon and shard, so that an audit need not read the outcomes. Only the
-- settlement of the partition writes its rows. shard_no is the shard that gave the coupon in granted and users, and the
-- picked shard in the other columns. users counts first grants: each user has exactly one.
CREATE TABLE IF NOT EXISTS outcome_tally (
    coupon_id    BIGINT       NOT NULL,
    partition_no INT UNSIGNED NOT NULL,
    shard_no     INT UNSIGNED NOT NULL,
    granted      BIGINT       NOT NULL,
    users        BIGINT       NOT NULL,
    picked       BIGINT       NOT NULL,
    sold_out     BIGINT       NOT NULL,
    user_limit   BIGINT       NOT NULL,
    invalid      BIGINT       NOT NULL,
    PRIMARY KEY (coupon_id, partition_no, shard_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

DELETE FROM outcome_tally;

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
CREATE TABLE IF NOT EXISTS issue_terms (
    digest BINARY(16) NOT NULL PRIMARY KEY,
    terms  TEXT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_column = (
    SELECT IF(count(*) = 0, 'ALTER TABLE issue_outcome ADD COLUMN terms_digest BINARY(16) NULL', 'DO 0')
      FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'issue_outcome' AND column_name = 'terms_digest'
);
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
