-- The lock on this row lasts until the commit: a higher version never becomes visible before a lower one.
UPDATE campaign_version SET version = version + 1 WHERE only_row = 1
