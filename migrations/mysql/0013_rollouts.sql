-- DDL commits by itself here, so a migration that was cut short is run again: each statement must bear it.

-- A change of the pipeline on its way to all users. running: 1, or null when it is over, so that one rollout a scope is
-- running. coupon_id: 0 for the default pipeline.
CREATE TABLE IF NOT EXISTS rollout (
    id        BIGINT     NOT NULL PRIMARY KEY,
    coupon_id BIGINT     NOT NULL,
    running   BIGINT,
    version   BIGINT     NOT NULL,
    record    MEDIUMTEXT NOT NULL,
    UNIQUE KEY rollout_running (coupon_id, running)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What each gateway has measured in the current step.
CREATE TABLE IF NOT EXISTS rollout_report (
    rollout_id BIGINT      NOT NULL,
    gateway    VARCHAR(64) NOT NULL,
    step_no    BIGINT      NOT NULL,
    tallies    MEDIUMTEXT  NOT NULL,
    PRIMARY KEY (rollout_id, gateway)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
