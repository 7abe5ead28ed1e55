-- `released_offset` stays: rejected requests before the missing records may not be released yet. The next claim reads
-- them again, and passes over the gap.
UPDATE partition_offset SET next_offset = ? WHERE partition_no = ? AND next_offset = ?
