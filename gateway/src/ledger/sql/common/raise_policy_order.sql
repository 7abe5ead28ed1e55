-- The lock on this row lasts until the commit: registrations and publications take turns.
UPDATE policy_order SET newest = newest + 1 WHERE only_row = 1
