-- Rows are numbered in the order in which they were inserted, without gaps: only the oldest are ever deleted.
DELETE FROM dead_letter WHERE rowid <= (SELECT max(rowid) FROM dead_letter) - ?1
