-- A change of the pipeline on its way to all users. running: 1, or null when it is over, so that one rollout a scope is
-- running. coupon_id: 0 for the default pipeline.
CREATE TABLE rollout (
    id        BIGINT NOT NULL PRIMARY KEY,
    coupon_id BIGINT NOT NULL,
    running   BIGINT,
    version   BIGINT NOT NULL,
    record    TEXT   NOT NULL,
    UNIQUE (coupon_id, running)
);

-- What each gateway has measured in the current step.
CREATE TABLE rollout_report (
    rollout_id BIGINT NOT NULL,
    gateway    TEXT   NOT NULL,
    step_no    BIGINT NOT NULL,
    tallies    TEXT   NOT NULL,
    PRIMARY KEY (rollout_id, gateway)
) WITHOUT ROWID;
