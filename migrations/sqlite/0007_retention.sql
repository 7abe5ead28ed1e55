-- version: the ledger's version of the campaign's last change. outcomes_deleted: what the retention deleted completely.
-- deletion_began: 1 as soon as it deleted an outcome.
ALTER TABLE campaign ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE campaign ADD COLUMN closed_at_ms BIGINT NULL;
ALTER TABLE campaign ADD COLUMN outcomes_deleted TEXT NOT NULL DEFAULT 'NONE'
    CHECK (outcomes_deleted IN ('NONE', 'REJECTIONS', 'ALL'));
ALTER TABLE campaign ADD COLUMN deletion_began INT NOT NULL DEFAULT 0;

CREATE INDEX campaign_by_version ON campaign (version);

UPDATE campaign SET closed_at_ms = unixepoch() * 1000 WHERE state = 'CLOSED';

-- Every change of a campaign raises it, so that a process reads only what changed since its last read.
CREATE TABLE campaign_version (
    only_row INT    NOT NULL PRIMARY KEY CHECK (only_row = 1),
    version  BIGINT NOT NULL
);

INSERT INTO campaign_version (only_row, version) VALUES (1, 1);
