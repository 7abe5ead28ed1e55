-- Before this offset, the counters have forgotten every rejected request. It is never ahead of next_offset.
ALTER TABLE partition_offset ADD COLUMN released_offset BIGINT NOT NULL DEFAULT 0;

UPDATE partition_offset SET released_offset = next_offset;
