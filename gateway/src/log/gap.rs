//! Records that are missing from a log.

use crate::coupon::{Offset, PartitionNo};

/// Acknowledged records that a partition does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The partition continues at `to`. Causes: retention, deleted or compacted records.
    Missing {
        /// The first missing offset.
        from: Offset,
        /// The first record after the gap, or the end of the partition.
        to: Offset,
    },
    /// The partition ends at `end`, before the requested `from`. Causes: a topic that was created again, a restored
    /// backup, an unclean leader election.
    Short { from: Offset, end: Offset },
}

impl Gap {
    /// The gap at `from` in a partition that holds the offsets from `start` until `end`.
    pub(super) fn outside(start: Offset, end: Offset, from: Offset) -> Option<Self> {
        if from < start {
            Some(Self::Missing { from, to: start })
        } else if from > end {
            Some(Self::Short { from, end })
        } else {
            None
        }
    }

    /// The number of missing records.
    #[must_use]
    pub fn records(&self) -> u64 {
        match self {
            Self::Missing { from, to } => to - from,
            Self::Short { from, end } => from - end,
        }
    }

    /// What is missing, and what to do, for an operator.
    #[must_use]
    pub fn explain(&self, partition: PartitionNo) -> String {
        match self {
            Self::Missing { from, to } => format!(
                "partition {partition} of the log lacks the offsets [{from}, {to}): their requests were accepted and \
                 are not settled: restore the records, or give them up with `sluice log skip --partition {partition} \
                 --from {from} --to {to}`"
            ),
            Self::Short { from, end } => format!(
                "partition {partition} of the log ends at offset {end}, but the ledger has settled it up to {from}: \
                 the log was created again or restored: restore the log, or stop all processes and continue \
                 it with `sluice log adopt --lost`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_within_the_log_or_at_its_end_is_not_in_a_gap() {
        for from in 3..=9 {
            assert_eq!(Gap::outside(3, 9, from), None, "{from}");
        }
        assert_eq!(Gap::outside(3, 9, 2), Some(Gap::Missing { from: 2, to: 3 }));
        assert_eq!(Gap::outside(3, 9, 10), Some(Gap::Short { from: 10, end: 9 }));
    }

    #[test]
    fn a_gap_is_explained_with_its_exact_range_and_the_command() {
        let missing = Gap::Missing { from: 5, to: 9 };
        assert_eq!(missing.records(), 4);
        let text = missing.explain(PartitionNo(3));
        assert!(text.contains("lacks the offsets [5, 9)"), "{text}");
        assert!(text.contains("sluice log skip --partition 3 --from 5 --to 9"), "{text}");
    }
}
