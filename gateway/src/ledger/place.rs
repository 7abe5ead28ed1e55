//! Which ledger group a database is.

use crate::coupon::GroupNo;

/// What the database of a group stores about its place among the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub group: GroupNo,
    /// The partitions of each group. They never change, so that every partition stays with its group.
    pub partitions_each: u32,
    /// As many groups have been in use. Only the first group's database counts all of them.
    pub groups_seen: u32,
}
